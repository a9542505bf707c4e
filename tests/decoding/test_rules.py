"""Rules on logits against loops over lists."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from attention_jax.data.types import EOS
from attention_jax.decoding.options import DecodingOptions

VOCABULARY, ROOM = 7, 6
PASTS = ((), (3,), (3, 4), (3, 3, 3), (3, 4, 3), (4, 3, 4, 3), (5, 5, 4, 5, 5), (6, 5, 4, 3, 6))


def applied(options: DecodingOptions, logits: np.ndarray, past: tuple[int, ...]) -> np.ndarray:
    """The logits after the rules, of one row that holds `past`."""
    tokens = np.zeros((1, ROOM), np.int32)
    tokens[0, : len(past)] = past
    return np.asarray(program(options)(logits[None], tokens, len(past))[0])


PROGRAM_OF: dict[DecodingOptions, Callable] = {}


def program(options: DecodingOptions) -> Callable:
    """One compiled program for each value of the options."""
    return PROGRAM_OF.setdefault(options, jax.jit(options.rule))


def drawn(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=VOCABULARY).astype(np.float32)


def test_repetition_penalty_multiplies_below_zero_and_divides_above():
    for seed, past in enumerate(PASTS):
        expected = drawn(seed)
        for token in set(past):
            below = expected[token] < 0
            expected[token] = expected[token] * 1.5 if below else expected[token] / 1.5
        got = applied(DecodingOptions(repetition_penalty=1.5), drawn(seed), past)
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_no_ngram_is_completed_twice():
    for size in (1, 2, 3):
        for seed, past in enumerate(PASTS):
            grams = {past[i : i + size] for i in range(len(past) - size + 1)}
            last = past[len(past) - size + 1 :] if size > 1 else ()
            forbidden = [y for y in range(VOCABULARY) if (*last, y) in grams]
            got = applied(DecodingOptions(no_repeat_ngram=size), drawn(seed), past)
            assert np.flatnonzero(np.isneginf(got)).tolist() == forbidden, (size, past)
            kept = ~np.isneginf(got)
            np.testing.assert_array_equal(got[kept], drawn(seed)[kept])


def test_the_end_waits_for_the_least_length():
    for past in PASTS:
        got = applied(DecodingOptions(min_length=3), drawn(0), past)
        assert np.isneginf(got[EOS]) == (len(past) < 3)
        np.testing.assert_array_equal(np.delete(got, EOS), np.delete(drawn(0), EOS))


def test_a_prefix_is_all_that_may_stand_at_its_places_even_where_a_rule_forbids_it():
    options = DecodingOptions(prefix=(4, 4), no_repeat_ngram=1)
    for past in ((), (4,)):
        got = applied(options, drawn(1), past)
        assert np.flatnonzero(~np.isneginf(got)).tolist() == [4]
        assert got[4] == drawn(1)[4]
    after = applied(options, drawn(1), (4, 4))
    assert np.flatnonzero(np.isneginf(after)).tolist() == [4]


def test_what_came_before_the_output_counts_for_repetition_alone():
    before = jnp.array([[0, 5, 6], [3, 4, 5]])  # PAD on the left
    options = DecodingOptions(no_repeat_ngram=2, min_length=2, before=before)
    logits, tokens = np.zeros((2, VOCABULARY), np.float32), np.zeros((2, 4), np.int32)
    tokens[:, 0] = 5, 4
    got = np.isneginf(jax.jit(options.rule)(logits, tokens, 1))
    assert [np.flatnonzero(row).tolist() for row in got] == [[EOS, 6], [EOS, 5]]


def test_rules_that_are_off_are_no_rule():
    assert DecodingOptions().rule is None
    assert DecodingOptions(min_p=0.5, length_form="power").rule is None
    assert DecodingOptions(prefix=(3,)).rule is not None


def test_forbidden_tokens_stand_nowhere_and_others_not_first():
    options = DecodingOptions(never=(5,), never_first=(EOS, 4), prefix=(3,))
    for seed, past in enumerate(PASTS):
        expected = drawn(seed)
        expected[5] = -np.inf
        if len(past) == 1:  # right after the prefix
            expected[[EOS, 4]] = -np.inf
        if not past:
            expected = np.where(np.arange(VOCABULARY) == 3, drawn(seed), -np.inf)
        np.testing.assert_array_equal(applied(options, drawn(seed), past), expected)
