"""Error rates against the definition: the fewest edits, by trying all."""

import functools

import numpy as np
import pytest

from attention_jax.evaluation import error_rates


def fewest_edits(a, b):
    """Tries every way."""

    @functools.cache
    def of(i, j):
        if i == len(a) or j == len(b):
            return len(a) - i + len(b) - j
        here = of(i + 1, j + 1) + (a[i] != b[j])
        return min(here, of(i + 1, j) + 1, of(i, j + 1) + 1)

    return of(0, 0)


def test_the_distance_is_the_fewest_edits():
    draw = np.random.default_rng(0)
    for _ in range(200):
        a, b = ("".join(draw.choice(list("abc"), draw.integers(0, 7))) for _ in range(2))
        assert error_rates.edit_distance(a, b) == fewest_edits(a, b), (a, b)


def test_rates_are_sums_over_sums():
    counted = error_rates.counts(["one two", "", "seven"], ["one too", "two", "seven"])
    assert counted["cer"].tolist() == [[1, 7], [3, 3], [0, 5]]
    assert counted["wer"].tolist() == [[1, 2], [1, 1], [0, 1]]
    assert counted["accuracy"].tolist() == [[0, 1], [0, 1], [1, 1]]
    assert error_rates.rates(counted) == pytest.approx(
        {"accuracy": 100 / 3, "cer": 400 / 15, "wer": 50.0}
    )


def test_more_can_be_wrong_than_was_said():
    assert error_rates.rates(error_rates.counts(["a b c"], ["d"]))["wer"] == 300


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ValueError, match="equally many, and at least one; got 1 and 2"):
        error_rates.counts(["a"], ["a", "b"])
    with pytest.raises(ValueError, match=r"`references\[1\]` must say something; got ' '"):
        error_rates.counts(["a", "b"], ["a", " "])


def test_the_distance_is_over_words_as_over_letters():
    draw = np.random.default_rng(1)
    for _ in range(100):
        a, b = (tuple(draw.choice(["one", "two", "o"], draw.integers(0, 6))) for _ in range(2))
        assert error_rates.edit_distance(a, b) == fewest_edits(a, b), (a, b)
    assert error_rates.words("one two", "one  tow\ttwo") == (1, 3)
    assert error_rates.characters("a\u0301", "á") == (2, 1)
