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


@pytest.mark.parametrize(("freedom", "value"), TABLE.items())
def test_quantiles_are_those_of_the_table(freedom, value):
    assert significance.t_quantile(0.975, freedom=freedom) == pytest.approx(value, abs=5e-4)
    assert significance.t_quantile(0.025, freedom=freedom) == pytest.approx(-value, abs=5e-4)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 10])
@pytest.mark.parametrize("t", [-2.5, 0.0, 0.3, 4.0])
def test_the_probability_is_the_integral_of_the_density(freedom, t):
    x = np.linspace(0.0, t, 20_001)
    scale = math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2) / math.sqrt(freedom * math.pi)
    density = scale * (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    assert significance.t_probability(t, freedom=freedom) == pytest.approx(
        0.5 + np.trapezoid(density, x), abs=1e-8
    )


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


def test_a_contender_does_not_differ_from_itself():
    same = hits([1, 0, 1, 1])
    assert significance.paired_bootstrap(same, same, shares) == (0.0, 0.0, 0.0, 1.0)


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
        (lambda: significance.t_quantile(1.0, freedom=2), r"must lie in \(0, 1\); got 1.0"),
        (lambda: significance.t_quantile(0.9, freedom=0), "`freedom` must be at least 1; got 0"),
        (
            lambda: significance.paired_bootstrap(hits([1, 0]), hits([1]), shares),
            r"same sentences, one or more; got \(1, 2, 2\) and \(1, 1, 2\)",
        ),
    ],
)
def test_bad_arguments_are_named(call, message, users_errors):
    with pytest.raises(ValueError, match=message):
        call()
