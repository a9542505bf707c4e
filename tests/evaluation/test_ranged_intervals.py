"""Intervals inside their range, against SciPy, a published example, and simulation."""

import math

import numpy as np
import pytest
import scipy.stats

from attention_jax.evaluation import ranged_intervals, significance
from attention_jax.evaluation.ranged_intervals import difference, interval, item_variance
from attention_jax.evaluation.significance import Interval


def share(sums):
    return 100 * sums[..., 0] / sums[..., 1]


def test_an_interval_of_shares_is_the_logit_interval_of_scipys_pieces():
    values = [91.0, 97.5, 99.0, 88.0]
    found = interval(values, high=100.0)
    p = np.mean(values) / 100
    se = scipy.stats.sem(values) / 100
    half = scipy.stats.t.ppf(0.975, 3) * se / (p * (1 - p))
    want = 100 / (1 + np.exp(-(np.log(p / (1 - p)) + np.array([-half, half]))))
    np.testing.assert_allclose([found.low, found.high], want, rtol=1e-12)
    assert found.mean == pytest.approx(100 * p) and found.count == 4


def test_an_interval_without_an_upper_end_is_that_of_the_logarithm():
    values = [3.0, 4.0, 8.0]
    found = interval(values)
    half = scipy.stats.t.ppf(0.975, 2) * scipy.stats.sem(values) / 5.0
    np.testing.assert_allclose([found.low, found.high], [5 * np.exp(-half), 5 * np.exp(half)])


@pytest.mark.parametrize("seed", range(40))
def test_no_end_is_outside_the_range_and_the_mean_is_inside(seed):
    draw = np.random.default_rng(seed)
    values = list(100 * draw.beta(*draw.uniform(0.02, 3, 2), size=draw.integers(2, 6)))
    variance, items = draw.choice([0.0, 4.0, 900.0]), int(draw.integers(0, 50))
    found = interval(values, high=100.0, item_variance=variance, items=items)
    assert 0 <= found.low <= found.mean <= found.high <= 100
    endless = interval(values, item_variance=variance, items=items)
    assert 0 <= endless.low <= endless.mean <= endless.high < math.inf


@pytest.mark.parametrize(("value", "high"), [(0.0, 100.0), (100.0, 100.0), (0.0, None)])
def test_at_an_end_the_interval_is_clopper_and_pearsons(value, high):
    found = interval([value] * 3, high=high, items=400)
    exact = scipy.stats.binomtest(int(4 * value), 400).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((100 * exact.low, 100 * exact.high))
    assert interval([value] * 3, high=high)[:3] == (value, value, value)


def test_degrees_of_freedom_are_those_of_welch_and_satterthwaite():
    # Welch's test of SciPy has the same sum of two variances, of which it gives the degrees.
    runs, others = [40.0, 44.0, 51.0], [10.0, 12.0, 15.0, 20.0, 22.0]
    welch = scipy.stats.ttest_ind(runs, others, equal_var=False)
    variance = np.var(others, ddof=1) / 5
    found = interval(runs, high=100.0, item_variance=variance, items=5)
    se = math.sqrt(np.var(runs, ddof=1) / 3 + variance)
    p = found.mean / 100
    half = math.log(found.high / (100 - found.high)) - math.log(p / (1 - p))
    assert half * 100 * p * (1 - p) / se == pytest.approx(scipy.stats.t.ppf(0.975, welch.df))


def test_the_variance_of_items_is_that_of_the_binomial():
    hits = np.random.default_rng(0).random(500) < 0.3
    counts = np.stack([hits, np.ones(500)], axis=1)[None].astype(float)
    p = hits.mean()
    found = item_variance(counts, share, resamples=4000)
    assert found == pytest.approx(100**2 * p * (1 - p) / 500, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("truth", [0.5, 0.9])
def test_intervals_hold_the_truth_as_often_as_they_say(truth):
    """Runs differ and items differ: over worlds of both, 95 % of intervals hold the mean."""
    draw, held, worlds = np.random.default_rng(1), 0, 300
    for _ in range(worlds):
        ease = np.log(truth / (1 - truth)) + draw.normal(0, 1, 200)
        skill = draw.normal(0, 0.3, (3, 1))
        hits = draw.random((3, 200)) < 1 / (1 + np.exp(-(ease + skill)))
        counts = np.stack([hits, np.ones_like(hits)], axis=-1).astype(float)
        values = share(counts.sum(axis=1)).tolist()
        variance = item_variance(counts, share, resamples=200)
        found = interval(values, high=100.0, item_variance=variance, items=200)
        mixed = np.log(truth / (1 - truth)) + draw.normal(0, 1, 4000) + draw.normal(0, 0.3, 4000)
        held += found.low <= 100 * np.mean(1 / (1 + np.exp(-mixed))) <= found.high
    assert 0.92 <= held / worlds <= 1.0


def test_a_difference_is_newcombes_of_two_proportions():
    """Newcombe 1998, Statistics in Medicine 17:873, table II: 56 of 70 and 48 of 80, method 10."""
    sides = []
    for hits, of in ((56, 70), (48, 80)):
        ends = scipy.stats.binomtest(hits, of).proportion_ci(method="wilson")
        sides.append(Interval(hits / of, ends.low, ends.high, of))
    found = difference(*sides)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_a_difference_stays_inside_its_range_and_needs_both_intervals():
    draw = np.random.default_rng(0)
    for _ in range(200):
        ends = np.sort(draw.random((2, 3)), axis=1) * 100
        one, two = (Interval(m, low, high, 3) for low, m, high in ends)
        found = difference(one, two)
        assert -100 <= found.low <= found.mean <= found.high <= 100
    alone = Interval(3.0, None, None, 1)
    assert difference(one, alone) == (one.mean - 3.0, None, None, 1)


def test_one_run_has_no_interval():
    assert interval([5.0], high=100.0, item_variance=1.0, items=9) == (5.0, None, None, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": []}, "`values` must be numbers from 0 to inf"),
        ({"values": [101.0], "high": 100.0}, "from 0 to 100, one or more; got"),
        ({"values": [math.nan, 1.0]}, "`values` must be a sequence of numbers"),
        ({"values": [1.0, 2.0], "item_variance": -1.0}, "`item_variance` must be a variance"),
        ({"values": [1.0, 2.0], "confidence": 1.0}, "`confidence` must lie in"),
    ],
)
def test_wrong_numbers_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ranged_intervals.interval(**options)


def test_far_from_an_end_it_is_students():
    values = [50.0, 50.1, 50.2]
    ours, theirs = interval(values, high=100.0), significance.mean_interval(values)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)
