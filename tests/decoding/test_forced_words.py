"""Beams that must hold words, against all sentences there are and against a search in loops."""

import jax
import numpy as np
import pytest

from attention_jax.data.types import EOS
from attention_jax.decoding import forced_words, search
from attention_jax.decoding.options import DecodingOptions
from tests.decoding.test_options import code, log_softmax, ruled
from tests.decoding.test_search import brute_force
from tests.support.prefix_tables import LENGTH, WORDS, decode, sentences, start, step, tables


def holds(sentence: tuple[int, ...], word: tuple[int, ...]) -> bool:
    return any(sentence[i : i + len(word)] == word for i in range(len(sentence)))


def counted(sentence: tuple[int, ...], words: tuple[tuple[int, ...], ...]) -> int:
    """Tokens of whole words, and of the one of the others that the sentence ends with most of."""
    whole = sum(len(word) for word in words if holds(sentence, word))
    parts = [
        word[:size] for word in words if not holds(sentence, word) for size in range(len(word))
    ]
    return whole + max(
        (len(x) for x in parts if x == sentence[len(sentence) - len(x) :]), default=0
    )


def wanted(past: tuple[int, ...], word: tuple[int, ...]) -> int:
    sizes = [s for s in range(len(word)) if word[:s] == past[len(past) - s :]]
    return word[max(sizes)]


def grid_in_loops(table, k, words, options) -> list[tuple[float, tuple[int, ...]]]:
    """Finished sentences with their scores, best first."""
    total = sum(map(len, words))
    banks = {count: [] for count in range(total + 1)} | {0: [(0.0, ())]}
    ended = []
    for length in range(1, LENGTH + 1):
        ends, continued = [], {}
        for score, past in [pair for own in banks.values() for pair in own]:
            x = ruled(log_softmax(table[code(past)]), past, options)
            best = sorted(WORDS, key=lambda y: -x[y])[:k]
            for token in {*best, *(wanted(past, word) for word in words)}:
                if not np.isneginf(x[token]):
                    continued[(*past, token)] = score + x[token]
            if all(holds(past, word) for word in words) and not np.isneginf(x[EOS]):
                ends.append((score + x[EOS], (*past, EOS)))
        for count in banks:
            own = [(score, y) for y, score in continued.items() if counted(y, words) == count]
            banks[count] = sorted(own, reverse=True)[:k]
        ranked = sorted([*ends, *banks[total]], reverse=True)[:k]
        ended += [(score / length, y) for score, y in ranked if y[-1] == EOS]
    return sorted(ended, reverse=True)


def test_a_wide_beam_finds_the_best_of_all_sentences_with_the_words():
    words, table = ((3, 4), (4,)), tables(4, seed=3)
    options = DecodingOptions(words=words)
    decoded = decode(
        "beam", step, start(table), max_length=LENGTH, beam_size=16, nbest=6, options=options
    )
    for row in range(4):
        every = [(score, y) for score, y in brute_force(table[row], 1.0) if y[-1] == EOS]
        expected = [(s, y) for s, y in every if all(holds(y, word) for word in words)]
        assert len(expected) >= 5
        got = [y for y in sentences(decoded, row) if y[-1:] == (EOS,)]
        assert got == [y for _, y in expected][:6]
        scores = [score for score, _ in expected][:6]
        np.testing.assert_allclose(decoded.scores[row, : len(got)], scores, rtol=1e-5)


CASES = {
    "two": DecodingOptions(words=((4, 3), (3, 3)), length_form="power"),
    "one": DecodingOptions(words=((3, 3, 4),), length_form="power"),
    "ruled": DecodingOptions(
        words=((4,), (3,)), prefix=(3,), repetition_penalty=1.3, length_form="power"
    ),
}


@pytest.mark.parametrize(
    "name", ["two", *(pytest.param(x, marks=pytest.mark.slow) for x in CASES if x != "two")]
)
@pytest.mark.parametrize("k", [3, pytest.param(2, marks=pytest.mark.slow)])
def test_a_narrow_beam_searches_its_banks_as_the_loops_do(name, k):
    table, options = tables(16, seed=6), CASES[name]
    decoded = decode(
        "beam", step, start(table), max_length=LENGTH, beam_size=k, nbest=k, options=options
    )
    found = 0
    for row in range(16):
        expected = grid_in_loops(table[row], k, options.words, options)[:k]
        got = [y for y in sentences(decoded, row) if y[-1:] == (EOS,)]
        assert got == [y for _, y in expected]
        scores = decoded.scores[row, : len(got)]
        np.testing.assert_allclose(scores, [score for score, _ in expected], rtol=1e-5)
        found += len(got)
    assert found >= 4, "too few sentences are finished to compare"


def test_progress_and_next_tokens_are_those_of_the_definition():
    words = ((5, 6, 5), (6, 6), (7,))
    random, room = np.random.default_rng(0), 6

    @jax.jit
    def run(past, position, tokens):
        return (
            forced_words.progress(past, position, tokens, words),
            forced_words.next_tokens(past, position, words),
            forced_words.all_met(past, words),
        )

    candidates = np.tile(np.array([4, 5, 6, 7]), (40, 1))
    for length in (0, 1, 2, 3, 5):
        past = np.zeros((40, room), np.int32)
        past[:, :length] = random.integers(5, 8, size=(40, length))
        counts, following, met = run(past, length, candidates)
        for row in range(40):
            own = tuple(past[row, :length].tolist())
            assert counts[row].tolist() == [
                counted((*own, token), words) for token in candidates[row].tolist()
            ]
            assert following[row].tolist() == [wanted(own, word) for word in words]
            assert bool(met[row]) == all(holds(own, word) for word in words)


@pytest.mark.parametrize(
    "words, message",
    [
        (((3,), (EOS,)), r"`words` must hold tokens of text, above 2; got \(2,\)"),
        (((3,), ()), "`words` must each hold a token; got an empty one"),
        (((3,), (3,)), r"`words` must differ; got \(\(3,\), \(3,\)\)"),
    ],
)
def test_words_that_cannot_be_held_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        DecodingOptions(words=words)


def test_searches_without_beams_refuse_words():
    options = DecodingOptions(words=((3,),))
    with pytest.raises(ValueError, match=r"`words` does not go with greedy decoding; .* `beam`"):
        search.greedy(step, start(tables(1)), max_length=LENGTH, options=options)
    with pytest.raises(ValueError, match="`max_length` must be at least 2, .* for words; got 1"):
        search.beam(step, start(tables(1)), max_length=1, options=options)
