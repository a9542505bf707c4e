"""Alignments of words: against their definitions in loops, and by hand."""

import numpy as np
import pytest

from attention_jax.analysis.word_alignment import error_rate, links, word_weights, words_of
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import EOS

SOURCE, TARGET = (0, 1, 1, 3, None), (0, 0, 1, 2, 2, 2, None)  # word 2 of the source has no token


def by_loops(weights, source, target):
    """Pieces of source words summed, those of target words averaged."""
    found = np.zeros((3, 4))
    for j, i in np.ndindex(found.shape):
        of_pieces = []
        for t, word in enumerate(target):
            if word == j:
                of_pieces.append(sum(weights[t, s] for s, own in enumerate(source) if own == i))
        found[j, i] = sum(of_pieces) / len(of_pieces)
    return found


@pytest.fixture
def weights():
    return np.random.default_rng(0).dirichlet(np.full(len(SOURCE), 0.3), size=len(TARGET))


def test_weights_of_words_are_those_of_the_definition(weights):
    found = word_weights(weights, source=SOURCE, target=TARGET)
    np.testing.assert_allclose(found, by_loops(weights, SOURCE, TARGET), rtol=1e-12, atol=0)
    assert not found[:, 2].any() and (found.sum(axis=1) < 1).all()  # EOS takes the rest


def test_links_are_largest_weights(weights):
    own = by_loops(weights, SOURCE, TARGET)
    forward, both = set(), set()
    for j in range(len(own)):
        best = max(range(own.shape[1]), key=lambda i: own[j, i])
        forward.add((best, j))
        if max(range(len(own)), key=lambda k: own[k, best]) == j:
            both.add((best, j))
    assert links(own) == forward and links(own, both_ways=True) == both
    crossed = np.array([[0.1, 0.9], [0.8, 0.2], [0.6, 0.4]])
    assert links(crossed) == {(1, 0), (0, 1), (0, 2)}
    assert links(crossed, both_ways=True) == {(1, 0), (0, 1)}


def test_a_word_that_looks_at_none_has_no_link():
    assert links(np.array([[0.0, 0.0], [0.0, 0.5]])) == {(1, 1)}
    assert links(np.zeros((0, 3))) == links(np.zeros((3, 0))) == set()


def test_the_error_rate_is_that_of_the_paper():
    """Two sentences counted by hand, as one corpus."""
    found = [{(0, 0), (1, 1), (2, 3)}, {(0, 1)}]
    sure, possible = [{(0, 0), (2, 2)}, {(0, 1)}], [{(1, 1)}, set()]
    # |A and S| = 1 + 1, |A and P| = 2 + 1, |A| = 3 + 1, |S| = 2 + 1
    rate = error_rate(found, sure=sure, possible=possible)
    assert rate == pytest.approx(1 - (2 + 3) / (4 + 3), rel=1e-12)
    # Sure links count as possible, named or not.
    named = [own | must for own, must in zip(possible, sure, strict=True)]
    assert rate == error_rate(found, sure=sure, possible=named)
    assert error_rate(sure, sure=sure, possible=possible) == 0
    assert error_rate([{(5, 5)}], sure=[{(0, 0)}], possible=[set()]) == 1


@pytest.mark.parametrize("kind", ["character", "word", "bpe"])
def test_tokens_belong_to_the_words_that_they_spell(kind):
    text = "the well-known don't sleeps, né?"
    tokenizer = Tokenizer.learn([text], kind=kind, size=40 if kind == "bpe" else None)
    ids = [*tokenizer.encode(text), EOS]
    found = words_of(tokenizer, ids)
    assert found.words == ("the", "well-known", "don't", "sleeps", ",", "né", "?")
    assert found.numbers[-1] is None and None not in found.numbers[:-1]
    spelled = {n: "" for n in range(len(found.words))}
    for token, number in zip(ids[:-1], found.numbers[:-1], strict=True):
        spelled[number] += tokenizer.decode([token]).strip()
    # Tokens of the kind "word" may hold several of a word's parts, never of two words.
    assert [spelled[n] for n in spelled] == list(found.words)


def test_bytes_belong_to_the_word_of_their_character():
    tokenizer = Tokenizer.of_bytes()
    found = words_of(tokenizer, tokenizer.encode("é añ?"))
    assert found.words == ("é", "añ", "?")
    assert found.numbers == (0, 0, 1, 1, 1, 1, 2)


def test_what_does_not_fit_is_refused(weights):
    with pytest.raises(ValueError, match="`source` must number the word of each of 5 tokens"):
        word_weights(weights, source=SOURCE[:-1], target=TARGET)
    with pytest.raises(ValueError, match="`target` must number the word of each of 7 tokens"):
        word_weights(weights, source=SOURCE, target=TARGET[1:])
    with pytest.raises(ValueError, match="of the same sentences; got 1, 2 and 1"):
        error_rate([set()], sure=[set(), set()], possible=[set()])
    with pytest.raises(ValueError, match="must hold a link; got none"):
        error_rate([set()], sure=[set()], possible=[{(0, 0)}])
