"""Scores of candidates: intervals over runs and items, what was learned, and every pair."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from attention_jax.evaluation import ranged_intervals, significance
from experiments.common import scoring

INSIDE, BEYOND = 5, 3  # buckets of lengths, within those of training and beyond


class Options(NamedTuple):
    """How runs are scored and counted; the flags of the comparison explain each field."""

    match: str
    score: str
    confidence: float
    seeds: int
    rates: list[str]


class Range(NamedTuple):
    """The least and the largest possible value; None where there is no largest."""

    low: float
    high: float | None


POSITIVE, SHARE, PERCENT = Range(0.0, None), Range(0.0, 1.0), Range(0.0, 100.0)
Counts = dict[str, list[scoring.Counts]]  # candidate -> runs -> test -> [n c]
Score = Callable[[np.ndarray], Any]  # of sums


def range_of(measure: str) -> Range:
    """The range of a score: an error rate may exceed 100 %."""
    return POSITIVE if measure in scoring.ERRORS else PERCENT


def spread(
    values: Sequence[float],
    confidence: float,
    ends: Range = POSITIVE,
    *,
    item_variance: float = 0.0,
    items: int = 0,
) -> dict[str, Any]:
    """Mean and interval inside a range as plain data, with the values, of which there is one."""
    numbers = [float(x) for x in values]
    found = ranged_intervals.interval(
        [min(max(x, ends.low), x if ends.high is None else ends.high) for x in numbers],
        low=ends.low,
        high=ends.high,
        item_variance=item_variance,
        items=items,
        confidence=confidence,
    )
    return {**found._asdict(), "values": numbers}


def scored(counts: np.ndarray, score: Score, options: Options) -> dict[str, Any]:
    """The score of a candidate's runs [r n c] with its interval over runs and items."""
    counts, items = counts.astype(float), counts.shape[1]
    variance = ranged_intervals.item_variance(counts, score) if items > 1 else 0.0
    values = score(counts.sum(axis=1)).tolist()
    ends = range_of(options.score)
    return spread(values, options.confidence, ends, item_variance=variance, items=items)


def compare(
    test: str, counts: Counts, score: Score, guess: np.ndarray | None, options: Options
) -> dict[str, Any]:
    """Scores of all candidates on a test, best first, and every pair of them.

    Args:
      test: its name.
      counts: of all candidates.
      score: of sums of counts.
      guess: counts [n c] of a guess that never reads its input; None where it is not known.
      options: how runs are scored.
    """
    is_error = options.score in scoring.ERRORS
    stacked = {
        name: np.stack([run[test] for run in runs]).astype(float)
        for name, runs in counts.items()
        if runs
    }
    own = {name: scored(x, score, options) for name, x in stacked.items()}
    order = sorted(own, key=lambda name: own[name]["mean"], reverse=not is_error)
    items = max((x.shape[1] for x in stacked.values()), default=0)
    bar = None if guess is None else alone(guess, score, options)
    surely = {
        name: own[name] if len(x) > 1 else alone(x[0], score, options)
        for name, x in stacked.items()
    }
    learned = {name: has_learned(surely[name], bar, items, options) for name in order}
    return {
        "scores": {name: own[name] for name in order},
        "pairs": pairs(order, stacked, own, learned, score, options),
        "better": "below" if is_error else "above",
        "items": items,
        "guess": bar,
        "learned": learned,
    }


def pairs(
    order: Sequence[str],
    stacked: dict[str, np.ndarray],
    own: dict[str, dict[str, Any]],
    learned: dict[str, bool],
    score: Score,
    options: Options,
) -> list[dict[str, Any]]:
    """Every pair of candidates, with a paired bootstrap over the items.

    Args:
      order: candidates, best first.
      stacked: counts of each.
      own: score of each.
      learned: which of them have.
      score: of sums of counts.
      options: how runs are scored.
    """
    tested = {
        pair: significance.paired_bootstrap(
            *(stacked[name] for name in pair), score, confidence=options.confidence
        )
        for pair in combinations(order, 2)
    }
    adjusted = significance.holm([x.p_value for x in tested.values()])
    return [
        compared(pair, own, learned) | x._asdict() | {"p_value_of_all_pairs": p}
        for (pair, x), p in zip(tested.items(), adjusted, strict=True)
    ]


def compared(
    pair: tuple[str, str], own: dict[str, dict[str, Any]], learned: dict[str, bool]
) -> dict[str, Any]:
    """Rank of the first of a pair above the second, if it may have one, and its lead.

    `margin` is the difference with an interval over runs and items; `apart` says that the two
    intervals do not meet, and that one of the two has learned anything.
    """
    first, second = (as_interval(own[name]) for name in pair)
    margin = ranged_intervals.difference(first, second)
    has_any = any(learned[name] for name in pair)
    return {
        "first": pair[0],
        "second": pair[1],
        "apart": has_any and significance.are_apart(first, second),
        "margin": margin._asdict(),
    }


def alone(counts: np.ndarray, score: Score, options: Options) -> dict[str, Any]:
    """The score of one run, or of a guess, [n c], with an interval over its items."""
    # Two runs that are alike have no spread but that of the items.
    return scored(np.stack([counts, counts]), score, options)


def has_learned(
    own: dict[str, Any], guess: dict[str, Any] | None, items: int, options: Options
) -> bool:
    """True where an interval is better than that of a guess that never reads its input.

    Args:
      own: the score with its interval; that of a single run is over the items alone.
      guess: likewise; None where it is not known, which takes it to have got no item right.
      items: number of items of the test.
      options: how runs are scored.
    """
    is_error = options.score in scoring.ERRORS
    if guess is None:
        none = 2 * [100.0 if is_error else 0.0]
        guess = spread(none, options.confidence, range_of(options.score), items=items)
    if own["low"] is None:
        own = own | {"low": own["mean"], "high": own["mean"]}
    return own["high"] < guess["low"] if is_error else own["low"] > guess["high"]


def as_interval(found: dict[str, Any]) -> significance.Interval:
    """An interval of plain data."""
    return significance.Interval(*(found[name] for name in significance.Interval._fields))


def by_length(
    counts: Counts, items: tuple[dict[str, np.ndarray], int] | None, score: Score, options: Options
) -> dict[str, Any]:
    """Scores of items of like lengths, all tests together."""
    if items is None:
        return {"longest_in_training": None, "buckets": []}
    of_tests, longest = items
    tested = np.concatenate(list(of_tests.values()))
    together = {
        name: np.stack([np.concatenate([run[test] for test in of_tests]) for run in runs])
        for name, runs in counts.items()
        if runs
    }
    buckets = []
    for low, high in length_buckets(tested, longest):
        inside = (low <= tested) & (tested <= high)
        buckets.append(
            {
                "low": low,
                "high": high,
                "beyond": low > longest,
                "sentences": int(inside.sum()),
                "scores": {
                    name: scored(x[:, inside], score, options) for name, x in together.items()
                },
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
