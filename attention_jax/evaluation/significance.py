"""Intervals over runs, differences over sentences, and how widely weights are spread.

    interval = statistics.mean_interval([41.2, 40.8, 41.5])       # one score of each seed
    found = statistics.paired_bootstrap(ours, theirs, score)      # counts [r n c] of r runs

NumPy alone: nothing here is traced.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Counts = Float[np.ndarray, "_ n c"]  # of each run and sentence, what a score is made of
Score = Callable[[np.ndarray], np.ndarray]  # sums [... c] -> scores [...]


class Interval(NamedTuple):
    """A mean, and where the mean of endless runs would lie.

    Attributes:
      low, high: None with fewer than two values: one run says nothing about the next.
      count: of values.
    """

    mean: float
    low: float | None
    high: float | None
    count: int


class Difference(NamedTuple):
    """First minus second.

    Attributes:
      low, high: of the middle `confidence` of resampled differences.
      p_value: how often a difference so large comes of the choice of sentences alone.
    """

    difference: float
    low: float
    high: float
    p_value: float


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """The mean of independent runs with Student's interval.

        mean +- t s / sqrt(n),  s^2 = sum (x - mean)^2 / (n - 1)

    Args:
      values: one number a run.
      confidence: how often such an interval holds the true mean, in (0, 1).

    Raises:
      ValueError: there is no value, or `confidence` is out of its range.

    >>> interval = mean_interval([1.0, 2.0, 3.0])
    >>> print(f"{interval.mean:.2f}, {interval.low:.2f} to {interval.high:.2f}")
    2.00, -0.48 to 4.48
    """
    if not len(values):
        raise ValueError("`values` must hold at least one number; got none.")
    mean, count = math.fsum(values) / len(values), len(values)
    if count == 1:
        return Interval(mean, None, None, 1)
    variance = math.fsum((x - mean) ** 2 for x in values) / (count - 1)
    half = t_quantile((1 + confidence) / 2, freedom=count - 1) * math.sqrt(variance / count)
    return Interval(mean, mean - half, mean + half, count)


def are_apart(first: Interval, second: Interval) -> bool:
    """Whether both have intervals, and these do not touch: only then may one rank above."""
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return False
    return first.low > second.high or second.low > first.high


def t_probability(t: float, *, freedom: int) -> float:
    """How probable a value below `t` is under Student's distribution.

    Reference: Abramowitz and Stegun 1964, equations 26.7.3 and 26.7.4.
    """
    if freedom < 1:
        raise ValueError(f"`freedom` must be at least 1; got {freedom}.")
    angle = math.atan(t / math.sqrt(freedom))
    # Terms of cos^(2k) for even numbers, cos^(2k + 1) for odd ones.
    odd = freedom % 2
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for k in range(freedom // 2):
        total += term
        term *= math.cos(angle) ** 2 * (2 * k + 1 + odd) / (2 * k + 2 + odd)
    inside = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return (1 + inside) / 2


def t_quantile(probability: float, *, freedom: int) -> float:
    """The value below which Student's distribution has `probability`.

    Raises:
      ValueError: `probability` is not in (0, 1), or `freedom` is below 1.

    >>> print(f"{t_quantile(0.975, freedom=2):.3f}")
    4.303
    """
    if not 0 < probability < 1:
        raise ValueError(f"`probability` must lie in (0, 1); got {probability}.")
    if probability < 0.5:
        return -t_quantile(1 - probability, freedom=freedom)
    low, high = 0.0, 1.0
    while t_probability(high, freedom=freedom) < probability:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        below = t_probability(middle, freedom=freedom) < probability
        low, high = (middle, high) if below else (low, middle)
    return high


def paired_bootstrap(
    first: Counts,
    second: Counts,
    score: Score,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 12345,
) -> Difference:
    """The difference of two contenders on the same sentences, drawn anew with replacement.

    Both see the same draws. A contender's score is the mean over its runs, each scored on the
    drawn sentences; runs are not drawn, so this says nothing about other seeds. With d the
    difference on all sentences and d_k on the k-th draw,

        p = (1 + #{ |d_k - mean(d)| >= |d| }) / (resamples + 1)

    so that differences either way count, and equals differ by chance; sacreBLEU counts those in
    favour of d alone, and its p-values are about half as large.

    Args:
      first, second: what `score` adds up, of each run and sentence; numbers of runs may differ.
      score: makes scores of sums.
      resamples: how often sentences are drawn.
      confidence: the share of resampled differences in the interval.
      seed: of the draws.

    Raises:
      ValueError: the two differ in sentences, or there are none.

    Reference: Koehn 2004, aclanthology.org/W04-3250; Post 2018, arXiv:1804.08771.
    """
    if first.shape[1:] != second.shape[1:] or not first.size or not second.size:
        raise ValueError(
            "`first` and `second` must hold counts of the same sentences, one or more; "
            f"got {first.shape} and {second.shape}."
        )
    differences = resampled(first, score, resamples=resamples, seed=seed)
    differences -= resampled(second, score, resamples=resamples, seed=seed)
    mean = [float(score(counts.sum(axis=1)).mean()) for counts in (first, second)]
    # Rounding must not decide whether two draws are as far.
    further = np.abs(differences - differences.mean()) >= abs(mean[0] - mean[1]) - 1e-9
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    p_value = (1 + int(further.sum())) / (resamples + 1)
    return Difference(mean[0] - mean[1], float(low), float(high), p_value)


def resampled(
    counts: Counts, score: Score, *, resamples: int = 1000, seed: int = 12345
) -> Float[np.ndarray, " k"]:
    """The mean score of the runs on sentences drawn anew: sacreBLEU's draws of that seed."""
    sentences = counts.shape[1]
    drawn = np.random.default_rng(seed).choice(sentences, size=(resamples, sentences))
    times = np.stack([np.bincount(row, minlength=sentences) for row in drawn]).astype(float)
    return np.mean([score(times @ run) for run in counts], axis=0)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several tests, raised so that all hold at once.

    Reference: Holm 1979, Scandinavian Journal of Statistics 6.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
