"""Intervals and tests against tables, integrals, sacreBLEU and enumeration."""

import itertools
import math

import numpy as np
import pytest
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest

from attention_jax.evaluation import significance
from attention_jax.evaluation.text import score_of_counts, sentence_counts

# Abramowitz and Stegun 1964, table 26.10: 0.975 of Student's distribution.
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 30: 2.042, 120: 1.980}


def half_width(freedom, confidence=0.95):
    """Half an interval in standard errors of the mean: the quantile of Student's distribution."""
    values = np.random.default_rng(freedom).normal(size=freedom + 1)
    interval = significance.mean_interval(list(values), confidence=confidence)
    assert interval.high - interval.mean == pytest.approx(interval.mean - interval.low)
    assert interval.mean == pytest.approx(values.mean()) and interval.count == freedom + 1
    return (interval.high - interval.mean) / (values.std(ddof=1) / math.sqrt(freedom + 1))


@pytest.mark.parametrize(("freedom", "value"), TABLE.items())
def test_half_an_interval_is_the_quantile_of_the_table(freedom, value):
    assert half_width(freedom) == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 10])
@pytest.mark.parametrize("confidence", [0.01, 0.5, 0.9, 0.99])
def test_an_interval_holds_its_confidence_of_the_density(freedom, confidence):
    t = half_width(freedom, confidence)
    x = np.linspace(-t, t, 200_001)
    scale = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
    density = scale * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    assert np.trapezoid(density, x) == pytest.approx(confidence, abs=1e-7)


def test_the_interval_holds_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3.0, 2.0, (4000, 3))
    found = [significance.mean_interval(list(row), confidence=0.9) for row in draws]
    share = np.mean([interval.low < 3.0 < interval.high for interval in found])
    assert share == pytest.approx(0.9, abs=3 * math.sqrt(0.9 * 0.1 / 4000))


def test_one_run_has_no_interval_and_ranks_nowhere():
    alone = significance.mean_interval([5.0])
    assert alone == (5.0, None, None, 1)
    assert not significance.are_apart(alone, significance.mean_interval([1.0, 1.1]))


def test_only_intervals_that_do_not_touch_are_apart():
    def interval(low, high):
        return significance.Interval((low + high) / 2, low, high, 3)

    assert significance.are_apart(interval(0, 1), interval(1.1, 2))
    assert significance.are_apart(interval(1.1, 2), interval(0, 1))
    assert not significance.are_apart(interval(0, 1), interval(1, 2))
    assert not significance.are_apart(interval(0, 3), interval(1, 2))


def shares(sums):
    return 100 * sums[..., 0] / sums[..., 1]


def hits(*runs):
    return np.stack([np.stack([row, np.ones(len(row))], axis=-1) for row in runs]).astype(float)


def test_the_bootstrap_is_the_average_over_all_draws():
    # No two sums are alike: rounding could break a tie either way.
    first, second = hits([0.9, 0.7, 0.11], [0.83, 0.2, 0.97]), hits([0.13, 0.61, 0.3])
    found = significance.paired_bootstrap(first, second, shares, resamples=20_000)
    every = np.array(list(itertools.product(range(3), repeat=3)))
    differences = [first[:, i, 0].mean() - second[:, i, 0].mean() for i in every]
    differences = 100 * np.array(differences)
    real = 100 * (first[..., 0].mean() - second[..., 0].mean())
    assert found.difference == pytest.approx(real)
    p = np.mean(np.abs(differences - differences.mean()) > real)
    assert found.p_value == pytest.approx(p, abs=0.015)
    ends = np.quantile(differences, [0.025, 0.975], method="inverted_cdf")
    assert (found.low, found.high) == pytest.approx(tuple(ends))


@pytest.mark.parametrize("resamples", [1, 9, 99])
def test_the_p_value_counts_the_observed_difference_as_a_draw(resamples):
    # All sentences differ alike, so every draw has the same difference, d_k - mean(d) is 0, and
    # no draw is as far from the mean as d.
    first, second = hits([1, 1, 1, 1]), hits([0, 0, 0, 0])
    found = significance.paired_bootstrap(first, second, shares, resamples=resamples)
    assert found == (100.0, 100.0, 100.0, 1 / (resamples + 1))


def test_the_p_value_is_the_count_of_its_definition():
    first, second = hits([1, 0, 1, 1, 0, 1, 1, 0]), hits([0, 0, 1, 0, 1, 0, 1, 0])
    found = significance.paired_bootstrap(first, second, shares, resamples=50, seed=3)
    own, other = (significance.resampled(x, shares, resamples=50, seed=3) for x in (first, second))
    differences = own - other
    far = sum(abs(d - differences.mean()) >= abs(found.difference) - 1e-9 for d in differences)
    assert 0 < far < 50 and found.p_value == pytest.approx((1 + far) / 51)


def test_a_candidate_does_not_differ_from_itself():
    same = hits([1, 0, 1, 1])
    assert significance.paired_bootstrap(same, same, shares) == (0.0, 0.0, 0.0, 1.0)


def test_one_sentence_tells_nothing_of_others():
    first, second = np.array([[[1.0, 1.0]]]), np.array([[[0.0, 1.0]]])
    found = significance.paired_bootstrap(first, second, lambda sums: sums[..., 0], resamples=9)
    assert (found.difference, found.p_value) == (1.0, 1.0)


def test_bleu_and_its_draws_are_sacrebleus(monkeypatch):
    draw = np.random.default_rng(1)
    words = "the a cat dog sees chases small old".split()
    references = [" ".join(draw.choice(words, 9)) for _ in range(40)]

    def spoil(text, share):
        return " ".join(w if draw.random() > share else "x" for w in text.split())

    ours, theirs = ([spoil(text, share) for text in references] for share in (0.15, 0.25))
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    test = PairedTest(
        [("theirs", theirs), ("ours", ours)],
        {"BLEU": BLEU(references=[references])},
        references=None,
        test_type="bs",
        n_samples=1000,
        n_ar_confidence=0,
    )
    want = test()[1]["BLEU"]
    counts = [
        sentence_counts("bleu", side, [(text,) for text in references])[None]
        for side in (ours, theirs)
    ]

    def score(sums):
        return score_of_counts("bleu", sums)

    found = significance.paired_bootstrap(*counts, score)
    assert found.difference == pytest.approx(want[1].score - want[0].score)
    own, other = (significance.resampled(side, score) for side in counts)
    assert own.mean() == pytest.approx(want[1].mean)
    away = np.abs(own - other)
    one_sided = (1 + np.sum(away - away.mean() > abs(found.difference))) / 1001
    assert one_sided == pytest.approx(want[1].p_value) and found.p_value >= one_sided


def test_holm_is_holms():
    assert significance.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert significance.holm([0.9, 0.8]) == [1.0, 1.0] and significance.holm([]) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: significance.mean_interval([]), "at least one number; got none"),
        (
            lambda: significance.mean_interval([1.0, 2.0], confidence=1.0),
            r"`confidence` must lie in \(0, 1\); got 1.0",
        ),
        (
            lambda: significance.paired_bootstrap(hits([1, 0]), hits([1]), shares),
            r"same sentences, one or more; got \(1, 2, 2\) and \(1, 1, 2\)",
        ),
    ],
)
def test_bad_arguments_are_named(call, message, users_errors):
    with pytest.raises(ValueError, match=message):
        call()
