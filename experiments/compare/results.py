"""Numbers of a comparison, read from the folders of its runs.

Nothing is trained or translated here, so a report can be drawn again at any time.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from attention_jax.evaluation import significance
from experiments.common import run_folder, scoring
from experiments.common.scoring import Scorer, read_json
from experiments.compare.candidates import LeftOut
from experiments.compare.config import Comparison
from experiments.compare.plan_file import Plans
from experiments.compare.runs import (
    Run,
    best_rate,
    costs_file,
    rate_text,
    rows,
    validation_loss,
)

INSIDE, BEYOND = 5, 3  # buckets of lengths, within those of training and beyond
# Of metrics.jsonl, in the learning curves.
CURVES = ("loss", "accuracy", "exact_match", "bleu", "wer", "cer")


class Options(NamedTuple):
    """How runs are scored and counted; the flags of the comparison explain each field."""

    match: str
    score: str
    confidence: float
    seeds: int
    rates: list[str]


def options(comparison: Comparison) -> Options:
    """The options of a comparison."""
    own = comparison.own
    tried = [rate_text(rate) for rate in comparison.rates]
    return Options(own.match, comparison.score, own.confidence, own.seeds, tried)


def collect(
    runs: Sequence[Run],
    plans: Plans,
    left_out: Sequence[LeftOut],
    scorer: Scorer,
    folder: Path,
    options: Options,
) -> dict[str, Any]:
    """Every number of the report."""
    names = list(dict.fromkeys(run.candidate for run in runs))
    chosen = {name: best_rate([run for run in runs if run.candidate == name]) for name in names}
    kept = {
        name: [r for r in runs if r.candidate == name and r.rate == chosen[name] and r.is_done()]
        for name in names
    }
    counts = {
        name: [scorer.counts(run.folder, options.score) for run in kept[name]] for name in names
    }
    tests = dict.fromkeys(test for own in counts.values() for run in own for test in run)
    score = partial(scorer.score, options.score)
    return {
        "task": scorer.task,
        "options": options._asdict(),
        "environment": run_folder.environment(),
        "left_out": [x._asdict() for x in left_out],
        "candidates": {
            name: candidate(kept[name], plans[name], chosen[name], options) for name in names
        },
        "runs": [describe(run, chosen[run.candidate]) for run in runs],
        "tests": {test: compare(test, counts, score, options) for test in tests},
        "lengths": by_length(counts, lengths(kept, scorer), score, options),
        "curves": {name: curves(kept[name], options) for name in names},
        "costs": {
            name: read_json(path) for name in names if (path := costs_file(folder, name)).exists()
        },
        "attention_maps": {name: attention_maps(kept[name]) for name in names},
    }


def describe(run: Run, chosen: str | None) -> dict[str, Any]:
    """A run, whether it counts, and what came of it."""
    status, reason = run.status()
    return {
        "name": run.name,
        "candidate": run.candidate,
        "learning_rate": float(run.rate),
        "seed": run.seed,
        "folder": str(run.folder),
        "status": status,
        "reason": reason,
        "counts": run.rate == chosen,
        "validation_loss": validation_loss(run),
        "result": read_json(run.folder / "result.json") if status == "done" else None,
    }


def candidate(
    runs: Sequence[Run], plan: dict[str, Any], rate: str | None, options: Options
) -> dict[str, Any]:
    """Sizes and budget of a candidate, and means over its runs with intervals."""
    results = [read_json(run.folder / "result.json") for run in runs]

    def mean(name: str) -> dict[str, Any] | None:
        values = [x[name] for x in results if x.get(name) is not None]
        return interval(values, options.confidence)

    steps = mean("steps")
    return {
        **plan,
        "flops": None if steps is None else plan["flops_of_step"] * steps["mean"],
        "learning_rate": None if rate is None else float(rate),
        "runs": len(runs),
        "steps_done": steps,
        "tokens": mean("target_tokens"),
        "seconds": mean("seconds"),
        "peak_memory_bytes": mean("peak_memory_bytes"),
        "focus": focus(results, options.confidence),
    }


def focus(results: Sequence[dict[str, Any]], confidence: float) -> dict[str, Any] | None:
    """How widely a candidate's attention looks, over its runs; None where it has none."""
    own = [x["focus"] for x in results if x.get("focus")]
    return {name: spread([x[name] for x in own], confidence) for name in own[0]} if own else None


def interval(values: Sequence[float], confidence: float) -> dict[str, Any] | None:
    """Mean and interval as plain data, with the values; None of nothing."""
    return spread(values, confidence) if values else None


def spread(values: Sequence[float], confidence: float) -> dict[str, Any]:
    """Mean and interval as plain data, with the values, of which there is one at least."""
    numbers = [float(x) for x in values]
    found = significance.mean_interval(numbers, confidence=confidence)
    return {**found._asdict(), "values": numbers}


Counts = dict[str, list[scoring.Counts]]  # candidate -> runs -> test -> [n c]
Score = Callable[[np.ndarray], Any]  # of sums


def compare(test: str, counts: Counts, score: Score, options: Options) -> dict[str, Any]:
    """Scores of all candidates on a test, best first, and every pair of them."""
    is_error = options.score in scoring.ERRORS
    stacked = {name: np.stack([run[test] for run in runs]) for name, runs in counts.items() if runs}
    scores = {
        name: spread(score(x.sum(axis=1)).tolist(), options.confidence)
        for name, x in stacked.items()
    }
    order = sorted(scores, key=lambda name: scores[name]["mean"], reverse=not is_error)
    found = {}
    for pair in combinations(order, 2):
        found[pair] = significance.paired_bootstrap(
            *(stacked[name] for name in pair), score, confidence=options.confidence
        )
    adjusted = significance.holm([x.p_value for x in found.values()])
    pairs = [
        {
            "first": first,
            "second": second,
            "apart": significance.are_apart(*(as_interval(scores[x]) for x in (first, second))),
            **found[first, second]._asdict(),
            "p_value_of_all_pairs": p,
        }
        for (first, second), p in zip(found, adjusted, strict=True)
    ]
    better = "below" if is_error else "above"
    return {"scores": {name: scores[name] for name in order}, "pairs": pairs, "better": better}


def as_interval(found: dict[str, Any]) -> significance.Interval:
    """An interval of plain data."""
    return significance.Interval(*(found[name] for name in significance.Interval._fields))


def lengths(kept: dict[str, list[Run]], scorer: Scorer) -> tuple[dict[str, np.ndarray], int] | None:
    """Those of each test's items, which are the same in all runs; None where they have none."""
    done = [run for runs in kept.values() for run in runs]
    return scorer.lengths(done[0].folder) if done else None


def by_length(
    counts: Counts, items: tuple[dict[str, np.ndarray], int] | None, score: Score, options: Options
) -> dict[str, Any]:
    """Scores of items of like lengths, all tests together."""
    if items is None:
        return {"longest_in_training": None, "buckets": []}
    of_tests, longest = items
    tested = np.concatenate(list(of_tests.values()))
    together = {
        name: [np.concatenate([run[test] for test in of_tests]) for run in runs]
        for name, runs in counts.items()
        if runs
    }
    buckets = []
    for low, high in length_buckets(tested, longest):
        inside = (low <= tested) & (tested <= high)
        found = {
            name: interval([float(score(x[inside].sum(axis=0))) for x in runs], options.confidence)
            for name, runs in together.items()
        }
        buckets.append(
            {
                "low": low,
                "high": high,
                "beyond": low > longest,
                "sentences": int(inside.sum()),
                "scores": found,
            }
        )
    return {"longest_in_training": longest, "buckets": buckets}


def length_buckets(lengths: np.ndarray, longest: int) -> list[tuple[int, int]]:
    """Bounds of buckets of about as many sentences each, never across `longest`."""
    found = []
    for part, most in ((lengths[lengths <= longest], INSIDE), (lengths[lengths > longest], BEYOND)):
        if not part.size:
            continue
        values = np.quantile(part, np.linspace(0, 1, most + 1)[1:], method="inverted_cdf")
        low = int(part.min())
        for high in sorted({int(x) for x in values}):
            found.append((low, high))
            low = high + 1
    return found


def curves(runs: Sequence[Run], options: Options) -> list[dict[str, Any]]:
    """Validations that all runs of a candidate made, as means over them."""
    of_runs = [{r["step"]: r for r in rows(run) if r["split"] == "validation"} for run in runs]
    if not of_runs:
        return []
    points = []
    for step in sorted(set.intersection(*map(set, of_runs))):
        at = [run[step] for run in of_runs]
        point: dict[str, Any] = {"step": step}
        for name in ("seconds", *CURVES):
            values = [x[name] for x in at if x.get(name) is not None]
            if len(values) == len(at):
                point[name] = interval(values, options.confidence)
        points.append(point)
    return points


def attention_maps(runs: Sequence[Run]) -> list[str]:
    """Figures of the first run's attention, by their paths; at most two."""
    found = sorted(runs[0].folder.glob("attention*.png")) if runs else []
    return [str(path) for path in found[:2]]
