"""Decoding with options against searches in loops, whose rules are written down once more."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.data.types import BOS, EOS
from attention_jax.decoding import search
from attention_jax.decoding.logits import kept
from attention_jax.decoding.options import DecodingOptions
from attention_jax.decoding.scoring import token_scores
from tests.support.prefix_tables import (
    LENGTH,
    VOCABULARY,
    WORDS,
    decode,
    log_probability,
    sentences,
    start,
    step,
    tables,
)

OPTIONS = {
    "penalty": DecodingOptions(repetition_penalty=1.7, length_form="power"),
    "ngrams": DecodingOptions(no_repeat_ngram=2, min_length=2),
    "prefix": DecodingOptions(prefix=(4, 4), repetition_penalty=1.3, no_repeat_ngram=1),
}


SLOW = pytest.mark.slow


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    return logits - np.log(np.exp(logits).sum())


def ruled(x: np.ndarray, past: tuple[int, ...], options: DecodingOptions) -> np.ndarray:
    """Log-probabilities or logits of the token after `past`, changed by the rules in order."""
    given, x = x, x.astype(np.float64)
    for token in set(past):
        less = x[token] * options.repetition_penalty
        x[token] = less if x[token] < 0 else x[token] / options.repetition_penalty
    if size := options.no_repeat_ngram:
        grams = {past[i : i + size] for i in range(len(past) - size + 1)}
        for token in range(VOCABULARY):
            if (*past, token)[-size:] in grams:
                x[token] = -np.inf
    if len(past) < options.min_length:
        x[EOS] = -np.inf
    if len(past) < len(options.prefix):
        token = options.prefix[len(past)]
        value = given[token] if np.isneginf(x[token]) else x[token]
        x = np.full(VOCABULARY, -np.inf)
        x[token] = value
    return x


def code(past: tuple[int, ...]) -> int:
    number = BOS
    for token in past:
        number = number * VOCABULARY + token
    return number


def beam_in_loops(table, k, length_penalty, options) -> list[tuple[float, tuple[int, ...]]]:
    """Finished sentences with their scores, best first."""
    beams, ended = [(0.0, ())], []
    for length in range(1, LENGTH + 1):
        continued = []
        for score, past in beams:
            x = ruled(log_softmax(table[code(past)]), past, options)
            continued += [(score + x[token], (*past, token)) for token in (EOS, *WORDS)]
        continued = sorted((c for c in continued if not np.isneginf(c[0])), reverse=True)
        divisor = ((5 + length) / 6) ** length_penalty
        if options.length_form == "power":
            divisor = length**length_penalty
        ended += [(score / divisor, y) for score, y in continued[:k] if y[-1] == EOS]
        beams = [pair for pair in continued if pair[1][-1] != EOS][:k]
    return sorted(ended, reverse=True)


@pytest.mark.parametrize("name", [pytest.param("ngrams", marks=SLOW), "penalty", "prefix"])
def test_a_beam_with_options_searches_as_the_loops_do(name):
    table, options, found = tables(32, seed=8), OPTIONS[name], 0
    asked = {"beam_size": 3, "nbest": 2, "length_penalty": 1.5, "options": options}
    decoded = decode("beam", step, start(table), max_length=LENGTH, **asked)
    for row in range(32):
        expected = beam_in_loops(table[row], 3, 1.5, options)[:2]
        got = [y for y in sentences(decoded, row) if y[-1:] == (EOS,)]
        assert got == [y for _, y in expected]
        scores = decoded.scores[row, : len(got)]
        np.testing.assert_allclose(scores, [score for score, _ in expected], rtol=1e-5)
        found += len(got)
    assert found > 32


@pytest.mark.parametrize(
    "name", ["ngrams", *(pytest.param(x, marks=SLOW) for x in ("penalty", "prefix"))]
)
def test_greedy_with_options_takes_the_best_that_is_left(name):
    table = tables(32, seed=3)
    options = dataclasses.replace(OPTIONS[name], length_form="wu")
    decoded = decode("greedy", step, start(table), max_length=LENGTH, options=options)
    for row in range(32):
        expected = ()
        while len(expected) < LENGTH and EOS not in expected:
            x = ruled(table[row, code(expected)], expected, options)
            x[:EOS] = -np.inf
            if np.isneginf(x).all():
                break
            expected = (*expected, int(np.argmax(x)))
        assert sentences(decoded, row) == [expected]
        got = float(decoded.scores[row, 0])
        assert got == pytest.approx(log_probability(table[row], expected), rel=1e-5)


def test_token_scores_are_log_probabilities_of_the_tokens():
    table = tables(4, seed=5)
    asked = {"beam_size": 3, "nbest": 3, "options": DecodingOptions(repetition_penalty=2.0)}

    @jax.jit
    def run(state):
        found = search.beam(step, state, max_length=LENGTH, **asked)
        return found, token_scores(step, state, found.tokens)

    found, scores = run(start(table))
    for row in range(4):
        for rank, tokens in enumerate(sentences(found, row)):
            each = [
                log_softmax(table[row, code(tokens[:i])])[token] for i, token in enumerate(tokens)
            ]
            expected = each + [0.0] * (LENGTH - len(tokens))
            np.testing.assert_allclose(scores[row, rank], expected, rtol=1e-4, atol=1e-6)


def test_min_p_keeps_what_reaches_its_share_of_the_largest():
    draw = np.random.default_rng(4).normal
    for min_p, top_k in ((0.05, None), (0.3, None), (0.3, 5), (1.0, None)):
        logits = draw(size=(6, 12)).astype(np.float32)
        got, tokens = jax.jit(kept, static_argnums=(1, 2, 3))(logits, top_k, None, min_p)
        for row in range(6):
            share = np.exp(log_softmax(logits[row]))
            order = np.argsort(-share)[:top_k]
            expected = {int(i) for i in order if share[i] >= min_p * share.max() * (1 - 1e-6)}
            ids = np.arange(12) if tokens is None else np.asarray(tokens[row])
            assert set(ids[~np.isneginf(got[row])].tolist()) == expected


@pytest.mark.parametrize(
    "options, message",
    [
        ({"repetition_penalty": 0.0}, "`repetition_penalty` must be above 0; got 0.0"),
        ({"no_repeat_ngram": -1}, "`no_repeat_ngram` must be a whole number of at least 1; got -1"),
        ({"min_length": -3}, "`min_length` must be a whole number of at least 1; got -3"),
        ({"prefix": (5, EOS)}, r"`prefix` must hold tokens of text, above 2; got \(5, 2\)"),
        ({"min_p": 0.0}, r"`min_p` must lie in \(0, 1\]; got 0.0"),
        ({"length_form": "gnmt"}, "`length_form` must be one of 'wu', 'power'; got 'gnmt'"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        DecodingOptions(**options)


@pytest.mark.parametrize(
    "method, options, message",
    [
        ("greedy", {"min_p": 0.1}, "`min_p` does not go with greedy decoding; got 0.1. Use `samp"),
        ("beam", {"min_p": 0.1}, "`min_p` does not go with beam search; got 0.1. Use `sample`"),
        ("greedy", {"length_form": "power"}, "`length_form` does not go with greedy decoding"),
        ("sample", {"length_form": "power"}, "`length_form` does not go with sampling; got 'power"),
        ("beam", {"min_length": 4}, "`max_length` must be at least 5, .* for min_length; got 4"),
        ("greedy", {"prefix": (3,) * 4}, "`max_length` must be at least 5, .* for prefix; got 4"),
    ],
)
def test_options_of_another_search_are_refused(method, options, message):
    key = {"key": jax.random.key(0)} if method == "sample" else {}
    with pytest.raises(ValueError, match=message):
        getattr(search, method)(
            step, start(tables(1)), max_length=LENGTH, options=DecodingOptions(**options), **key
        )


def test_token_scores_refuse_sentences_of_other_rows():
    with pytest.raises(ValueError, match=r"`tokens` must have shape \[b n t\], with 2 rows"):
        token_scores(step, start(tables(2)), jnp.zeros((3, 1, 2), jnp.int32))
