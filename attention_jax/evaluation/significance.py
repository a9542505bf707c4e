"""Confidence intervals over runs, paired bootstrap over sentences, Holm's correction.

    interval = significance.mean_interval([41.2, 40.8, 41.5])     # one score of each seed
    found = significance.paired_bootstrap(ours, theirs, score)    # counts [r n c] of r runs

NumPy and SciPy alone: nothing here is traced.
"""

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from attention_jax.core import checks
from attention_jax.core.extras import needed
from attention_jax.core.plain_types import typed_calls

with needed("train"):
    import scipy.special

Counts = Float[np.ndarray, "_ n c"]  # sufficient statistics of each run and sentence
Score = Callable[[np.ndarray], np.ndarray]  # sums [... c] -> scores [...]


class Interval(NamedTuple):
    """A mean and its confidence interval.

    Attributes:
      mean: mean of the values.
      low, high: ends of the interval; None for a single value, which tells nothing of the spread.
      count: number of values.
    """

    mean: float
    low: float | None
    high: float | None
    count: int


class Difference(NamedTuple):
    """A difference between two candidates, first minus second.

    Attributes:
      difference: on all sentences.
      low, high: ends of the interval of resampled differences.
      p_value: probability of a difference as large from the choice of sentences alone.
    """

    difference: float
    low: float
    high: float
    p_value: float


@typed_calls
def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Mean of independent runs with Student's t interval.

        mean +- t s / sqrt(n),  s^2 = sum (x - mean)^2 / (n - 1)

    Args:
      values: one number for each run.
      confidence: share of such intervals that contain the true mean, in (0, 1).

    Raises:
      ValueError: there is no value, or `confidence` is out of its range.

    >>> interval = mean_interval([1.0, 2.0, 3.0])
    >>> print(f"{interval.mean:.2f}, {interval.low:.2f} to {interval.high:.2f}")
    2.00, -0.48 to 4.48
    """
    if not len(values):
        raise ValueError("`values` must hold at least one number; got none.")
    if not all(isinstance(x, Real) and math.isfinite(x) for x in values):
        raise ValueError(f"`values` must be finite numbers; got {list(values)}. Leave others out.")
    check_share(confidence)
    mean, count = math.fsum(values) / len(values), len(values)
    if count == 1:
        return Interval(mean, None, None, 1)
    variance = math.fsum((x - mean) ** 2 for x in values) / (count - 1)
    # The quantile of Student's t; scipy.stats, which has it too, takes a second to import.
    t = float(scipy.special.stdtrit(count - 1, (1 + confidence) / 2))
    half = t * math.sqrt(variance / count)
    return Interval(mean, mean - half, mean + half, count)


def are_apart(first: Interval, second: Interval) -> bool:
    """True if both have intervals and these do not overlap: only then may one rank above."""
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return False
    return first.low > second.high or second.low > first.high


@typed_calls
def paired_bootstrap(
    first: Counts,
    second: Counts,
    score: Score,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 12345,
) -> Difference:
    """Paired bootstrap test of two candidates on the same sentences.

    Both are scored on the same resampled sentences. The score of a candidate is the mean over its
    runs; runs are not resampled, so the test says nothing about other seeds. With d the difference
    on all sentences and d_k on the k-th resample,

        p = (1 + #{ |d_k - mean(d)| >= |d| }) / (resamples + 1)

    One sentence, whose resamples are all the same, tells nothing of others: p is 1. The test is
    two-sided. sacreBLEU counts differences in favor of d alone, and its p-values are
    about half as large.

    Args:
      first, second: counts of each run and sentence, summed before `score`; the numbers of runs may
        differ.
      score: scores of summed counts.
      resamples: number of resamples.
      confidence: share of resampled differences in the interval, in (0, 1).
      seed: seed of the resamples.

    Raises:
      ValueError: the numbers of sentences differ, or there are none.

    Reference: Koehn 2004, aclanthology.org/W04-3250; Post 2018, arXiv:1804.08771.
    """
    check_share(confidence)
    checks.positive("resamples", resamples)
    checks.natural("seed", seed)
    checks.shape("first", first, "r n c")
    checks.shape("second", second, "r n c")
    if first.shape[1:] != second.shape[1:] or not first.size or not second.size:
        raise ValueError(
            "`first` and `second` must hold counts of the same sentences, one or more; "
            f"got {first.shape} and {second.shape}."
        )
    differences = resampled(first, score, resamples=resamples, seed=seed)
    differences -= resampled(second, score, resamples=resamples, seed=seed)
    mean = [float(score(counts.sum(axis=1)).mean()) for counts in (first, second)]
    # Rounding must not decide between equal distances.
    further = np.abs(differences - differences.mean()) >= abs(mean[0] - mean[1]) - 1e-9
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    p_value = (1 + int(further.sum())) / (resamples + 1) if first.shape[1] > 1 else 1.0
    return Difference(mean[0] - mean[1], float(low), float(high), p_value)


@typed_calls
def resampled(
    counts: Counts, score: Score, *, resamples: int = 1000, seed: int = 12345
) -> Float[np.ndarray, " k"]:
    """Mean score of the runs on each resample of the sentences, drawn as sacreBLEU draws them."""
    sentences = counts.shape[1]
    drawn = np.random.default_rng(seed).choice(sentences, size=(resamples, sentences))
    times = np.stack([np.bincount(row, minlength=sentences) for row in drawn]).astype(float)
    return np.mean([score(times @ run) for run in counts], axis=0)


@typed_calls
def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction of p-values for multiple tests.

    Raises:
      ValueError: one lies outside [0, 1].

    Reference: Holm 1979, Scandinavian Journal of Statistics 6.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    if not all(isinstance(p, Real) and 0 <= p <= 1 for p in p_values):
        raise ValueError(
            f"`p_values` must lie in [0, 1]; got {list(p_values)}. Correct them first."
        )
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def check_share(confidence: float) -> None:
    """Refuses a confidence that is no share."""
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must lie in (0, 1); got {confidence}. Use 0.95.")
