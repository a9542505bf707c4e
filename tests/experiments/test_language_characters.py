"""Bits a character: alike for all tokenizers, by loops over characters."""

import math

import numpy as np
import pytest

from attention_jax.data.tokenizer import Tokenizer
from experiments.language import characters

TEXT = "".join(f"{i} señoras y {i + 1} niños 🙂.\n" for i in range(30))
TOKENIZERS = {
    "characters": lambda: Tokenizer.learn([TEXT], kind="character"),
    "bytes": Tokenizer.of_bytes,
}


@pytest.fixture(params=TOKENIZERS)
def vocabulary(request):
    return TOKENIZERS[request.param]()


def test_tokens_end_where_their_characters_do(vocabulary):
    """Of bytes all but the last of a character end before it is whole, or at it."""
    ids = np.asarray(vocabulary.encode(TEXT), np.int32)
    assert characters.gives_back(vocabulary, ids, TEXT)
    found = characters.ends(vocabulary, ids, TEXT)
    want = [len(vocabulary.decode(ids[: i + 1].tolist())) for i in range(len(ids))]
    assert found.tolist() == want and found[-1] == len(TEXT)


def test_counts_are_sums_over_the_tokens_that_begin_in_a_stretch(vocabulary):
    ids = np.asarray(vocabulary.encode(TEXT), np.int32)
    nats = np.random.default_rng(0).uniform(0, 3, len(ids) - 1)
    size, number = characters.stretches(TEXT)
    want = [[0.0, 0.0] for _ in range(number)]
    before = [len(vocabulary.decode(ids[:i].tolist())) for i in range(len(ids) + 1)]
    for i in range(1, len(ids)):
        at = want[min(before[i] // size, number - 1)]
        at[0] += nats[i - 1] / math.log(2)
        at[1] += before[i + 1] - before[i]
    found = characters.counts(vocabulary, ids, TEXT, nats)
    np.testing.assert_allclose(found, want, rtol=1e-12)
    whole = np.sum(found, axis=0)
    factor = characters.a_token(vocabulary, ids, TEXT)
    assert whole[0] / whole[1] == pytest.approx(factor * nats.mean())


def test_a_model_that_knows_nothing_pays_the_same_for_its_bytes_as_for_its_characters():
    """Of plain letters, where each is a byte: the tokenizer changes no number."""
    text = "abc abd " * 40
    found = []
    for vocabulary in (Tokenizer.learn([text], kind="character"), Tokenizer.of_bytes()):
        ids = np.asarray(vocabulary.encode(text), np.int32)
        found.append(characters.counts(vocabulary, ids, text, np.ones(len(ids) - 1)))
    assert found[0] == found[1]


def test_what_is_lost_in_tokens_is_found():
    known = Tokenizer.learn(["abc"], kind="character")
    ids = np.asarray(known.encode("abz"), np.int32)
    assert not characters.gives_back(known, ids, "abz")


def test_the_guess_knows_how_frequent_characters_are():
    training, text = "aaab", "abca" * 30
    found = characters.guess(training, text)
    p = {"a": 4 / 7, "b": 2 / 7, "c": 1 / 7}
    size, number = characters.stretches(text)
    want = [
        [-sum(math.log2(p[c]) for c in part), len(part)]
        for part in (text[i * size : (i + 1) * size] for i in range(number))
    ]
    np.testing.assert_allclose(found, want)
