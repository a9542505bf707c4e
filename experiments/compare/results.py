"""Numbers of a comparison, read from the folders of its runs.

Nothing is trained or translated here, so a report can be drawn again at any time.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import run_folder
from experiments.common.scoring import Counts, Scorer, read_json
from experiments.compare import launch_local, scores, summary
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
from experiments.compare.scores import Options, Range

# Of metrics.jsonl, in the learning curves.
CURVES = {
    "loss": scores.POSITIVE,
    "accuracy": scores.SHARE,
    "exact_match": scores.SHARE,
    "bleu": scores.PERCENT,
    "wer": scores.POSITIVE,
    "cer": scores.POSITIVE,
    "bits_per_character": scores.POSITIVE,
}


def options(comparison: Comparison) -> Options:
    """The options of a comparison."""
    own = comparison.own
    tried = [rate_text(rate) for rate in comparison.rates]
    return Options(comparison.match, comparison.score, own.confidence, own.seeds, tried)


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
    counts = {name: counted(kept[name], plans[name], scorer, options) for name in names}
    tests = dict.fromkeys(test for own in counts.values() for run in own for test in run)
    score, guess = partial(scorer.score, options.score), scorer.guess(options.score)
    return {
        "task": scorer.task,
        "options": options._asdict(),
        "environment": run_folder.environment(),
        "left_out": [x._asdict() for x in left_out],
        "candidates": {x: candidate(kept[x], plans[x], chosen[x], options) for x in names},
        "runs": [describe(run, chosen[run.candidate]) for run in runs],
        "tests": {
            test: scores.compare(test, counts, score, guess.get(test), options) for test in tests
        },
        "lengths": scores.by_length(counts, lengths(kept, scorer), score, options),
        "curves": {name: curves(kept[name], options) for name in names},
        "costs": {x: read_json(p) for x in names if (p := costs_file(folder, x)).exists()},
        "costs_failed": failed_costs(folder, names),
        "attention_maps": {name: attention_maps(kept[name]) for name in names},
    }


def counted(
    runs: Sequence[Run], plan: dict[str, Any], scorer: Scorer, options: Options
) -> list[Counts]:
    """Counts of a candidate's runs; the one of a model that is not trained is that of all seeds."""
    own = [scorer.counts(run.folder, options.score) for run in runs]
    return own * options.seeds if summary.is_untrained(plan) and len(own) == 1 else own


def failed_costs(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """The reason why costs of a candidate were not measured, of those that were to be."""
    paths = {name: costs_file(folder, name) for name in names}
    logs = {x: path.with_suffix(".log") for x, path in paths.items() if not path.exists()}
    return {x: launch_local.last_words(log) for x, log in logs.items() if log.exists()}


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
    if not own:
        return None
    columns = {name: [x[name] for x in own] for name in own[0]}
    # No fewer than one token has all the weight, but for rounding.
    return {
        name: scores.spread(values, confidence, Range(min(1.0, *values), None))
        for name, values in columns.items()
    }


def interval(
    values: Sequence[float], confidence: float, ends: Range = scores.POSITIVE
) -> dict[str, Any] | None:
    """Mean and interval as plain data, with the values; None of nothing."""
    return scores.spread(values, confidence, ends) if values else None


def lengths(kept: dict[str, list[Run]], scorer: Scorer) -> tuple[dict[str, np.ndarray], int] | None:
    """Those of each test's items, which are the same in all runs; None where they have none."""
    done = [run for runs in kept.values() for run in runs]
    return scorer.lengths(done[0].folder) if done else None


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
                ends = CURVES.get(name, scores.POSITIVE)
                point[name] = interval(values, options.confidence, ends)
        points.append(point)
    return points


def attention_maps(runs: Sequence[Run]) -> list[str]:
    """Figures of the first run's attention, by their paths; at most two."""
    if not runs:
        return []
    found = [x for kind in ("attention", "alignment") for x in runs[0].folder.glob(f"{kind}*.png")]
    return [str(path) for path in sorted(found)[:2]]
