"""Confidence intervals that stay inside the possible range, over runs and over items.

    spread = ranged_intervals.item_variance(counts, score)          # counts [r n c] of r runs
    accuracy = ranged_intervals.interval([97.0, 99.0, 99.5], high=100.0, item_variance=spread,
                                         items=400)
    ahead = ranged_intervals.difference(first, second)

A share of 98 % with Student's interval of ± 6 would reach 104 %; here the interval is computed on a
scale without ends, and brought back.
"""

import math
from collections.abc import Sequence
from numbers import Real

import numpy as np

from attention_jax.core.extras import needed
from attention_jax.core.plain_types import typed_calls
from attention_jax.evaluation.significance import (
    Counts,
    Interval,
    Score,
    check_share,
    resampled,
)

with needed("train"):
    import scipy.special

_WHOLE = 100.0  # of a measure in percent that has no upper end, such as an error rate


@typed_calls
def interval(
    values: Sequence[float],
    *,
    low: float = 0.0,
    high: float | None = None,
    item_variance: float = 0.0,
    items: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Mean of runs with an interval inside [low, high], over runs and, where told, over items.

        g(x) = log((x - low) / (high - x)),  or log(x - low) without an upper end
        ends: g^-1(g(mean) +- t g'(mean) se),  se^2 = s^2 / n + item_variance

    t is Student's, with the degrees of freedom of Welch and Satterthwaite: n - 1 where the runs
    alone vary, items - 1 where the items alone do. At an end of the range, where all runs got every
    item or none, the other end of the interval is Clopper and Pearson's over the items:
    `1 - ((1 - confidence) / 2)^(1 / items)` of the range.

    Args:
      values: one number of each run.
      low: the least possible value.
      high: the largest possible value; None for a measure without one.
      item_variance: variance of the mean that comes of the choice of items.
      items: number of items; 0 where they are not known.
      confidence: share of such intervals that contain the true mean, in (0, 1).

    Raises:
      ValueError: there is no value, or one outside the range.

    Reference: Korn and Graubard 1998, Survey Methodology 24 (logit intervals of shares);
    Satterthwaite 1946, Biometrics Bulletin 2; Clopper and Pearson 1934, Biometrika 26.

    >>> found = interval([97.0, 99.0, 99.5], high=100.0)
    >>> print(f"{found.mean:.1f}, {found.low:.1f} to {found.high:.1f}")
    98.5, 87.7 to 99.8
    """
    check_share(confidence)
    most = math.inf if high is None else high
    if not len(values) or not all(isinstance(x, Real) and low <= x <= most for x in values):
        raise ValueError(
            f"`values` must be numbers from {low:g} to {most:g}, one or more; got {list(values)}. "
            "Leave others out, or name the range by `low` and `high`."
        )
    if item_variance < 0 or not math.isfinite(item_variance):
        raise ValueError(f"`item_variance` must be a variance; got {item_variance}. Use 0 or more.")
    mean, count = math.fsum(values) / len(values), len(values)
    if count == 1:
        return Interval(mean, None, None, 1)
    of_runs = math.fsum((x - mean) ** 2 for x in values) / (count - 1) / count
    if mean in (low, most):
        return _at_an_end(Interval(mean, low, high, count), mean == low, items, confidence)
    half = _quantile(of_runs, count, item_variance, items, confidence) * math.sqrt(
        of_runs + item_variance
    )
    ends = _brought_back(mean, half, low, high)
    # Rounding must not put an end beyond the mean.
    return Interval(mean, min(ends[0], mean), max(ends[1], mean), count)


@typed_calls
def item_variance(
    counts: Counts, score: Score, *, resamples: int = 1000, seed: int = 12345
) -> float:
    """Variance of the mean score of runs that comes of the choice of items, by the bootstrap.

    Args:
      counts: of each run and item, summed before `score`.
      score: scores of summed counts.
      resamples: number of resamples of the items.
      seed: seed of the resamples.
    """
    return float(np.var(resampled(counts, score, resamples=resamples, seed=seed), ddof=1))


@typed_calls
def difference(first: Interval, second: Interval) -> Interval:
    """First minus second, with an interval recovered from those of both.

        low  = d - sqrt((m1 - low1)^2 + (high2 - m2)^2)
        high = d + sqrt((high1 - m1)^2 + (m2 - low2)^2)

    Within [-(high - low), high - low] wherever both stay in [low, high]. What both share, such as
    the items of a test, makes it wider than it need be.

    Reference: Newcombe 1998, Statistics in Medicine 17; Zou and Donner 2008, Statistics in
    Medicine 27.

    >>> found = difference(Interval(90.0, 80.0, 95.0, 3), Interval(50.0, 40.0, 60.0, 3))
    >>> print(f"{found.mean:.1f}, {found.low:.1f} to {found.high:.1f}")
    40.0, 25.9 to 51.2
    """
    mean, count = first.mean - second.mean, min(first.count, second.count)
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return Interval(mean, None, None, count)
    below = math.hypot(first.mean - first.low, second.high - second.mean)
    above = math.hypot(first.high - first.mean, second.mean - second.low)
    return Interval(mean, mean - below, mean + above, count)


def _quantile(of_runs: float, runs: int, of_items: float, items: int, confidence: float) -> float:
    """Student's, with the degrees of freedom of a sum of two variances."""
    total = of_runs + of_items
    if not total:
        return 0.0
    parts = of_runs**2 / (runs - 1) + (of_items**2 / (items - 1) if items > 1 else 0.0)
    freedom = total**2 / parts if parts else math.inf
    return float(scipy.special.stdtrit(min(freedom, 1e9), (1 + confidence) / 2))


def _brought_back(mean: float, half: float, low: float, high: float | None) -> tuple[float, float]:
    """The ends of `mean +- half`, both on the scale without ends, on that of the measure."""
    if high is None:
        # Beyond e^700 there are no numbers.
        factor = math.exp(min(half / (mean - low), 700.0))
        return low + (mean - low) / factor, low + (mean - low) * factor
    whole = high - low
    share = (mean - low) / whole
    center = float(scipy.special.logit(share))
    half = half / whole / (share * (1 - share))
    ends = (float(scipy.special.expit(center + sign * half)) for sign in (-1, 1))
    first, second = (low + whole * end for end in ends)
    return first, second


def _at_an_end(found: Interval, is_low: bool, items: int, confidence: float) -> Interval:
    """The interval of runs that all are at an end of their range."""
    assert found.low is not None
    share = 1 - ((1 - confidence) / 2) ** (1 / items) if items else 0.0
    width = share * (_WHOLE if found.high is None else found.high - found.low)
    return found._replace(
        low=found.mean if is_low else found.mean - width,
        high=found.mean + width if is_low else found.mean,
    )
