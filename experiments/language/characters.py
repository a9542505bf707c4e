"""Bits a character: a score of a text that does not depend on how tokens cut it.

    bits a character = sum_t -log2 p(token_t | tokens before) / characters of those tokens

The text is cut into stretches of as many characters, the same for every tokenizer, and a token
counts in the stretch where it begins.
"""

import math
from collections import Counter

import numpy as np
from jaxtyping import Float, Int

from attention_jax.data.tokenizer import Tokenizer

MEASURE = "bits_per_character"
_STRETCH, _FEWEST = 256, 20  # characters of a stretch, and stretches of a shorter text
_BEFORE = 8  # tokens that are decoded with one, as it may be a part of a character


def gives_back(vocabulary: Tokenizer, ids: Int[np.ndarray, " n"], text: str) -> bool:
    """True where ids decode to the text: else something of it is not predicted."""
    return vocabulary.decode(ids.tolist()) == text


def check(vocabulary: Tokenizer, ids: Int[np.ndarray, " n"], text: str, *, name: str) -> None:
    """Refuses a text that its tokens do not give back.

    Raises:
      ValueError: they do not.
    """
    if not gives_back(vocabulary, ids, text):
        raise ValueError(
            f"`--score={MEASURE}` needs tokens that give back the text, of which else less is "
            f"predicted; of {name} something is lost in them. Give a text that the tokenizer "
            "knows, or leave out what has that tokenizer."
        )


def ends(vocabulary: Tokenizer, ids: Int[np.ndarray, " n"], text: str) -> Int[np.ndarray, " n"]:
    """Characters of the text up to the end of each token."""
    if len(ids) == len(text) and vocabulary.kind == "character":
        return np.arange(1, len(ids) + 1)
    own = ids.tolist()

    def added(i: int) -> int:
        before = own[max(0, i - _BEFORE) : i]
        return len(vocabulary.decode([*before, own[i]])) - len(vocabulary.decode(before))

    return np.cumsum([added(i) for i in range(len(own))])


def stretches(text: str) -> tuple[int, int]:
    """Characters of a stretch, and the number of stretches."""
    size = max(1, min(_STRETCH, len(text) // _FEWEST))
    return size, -(-len(text) // size)


def counts(
    vocabulary: Tokenizer, ids: Int[np.ndarray, " n"], text: str, nats: Float[np.ndarray, " m"]
) -> list[list[float]]:
    """Bits and characters of each stretch.

    Args:
      vocabulary: gives back the text.
      ids: the text in its tokens.
      text: what is scored.
      nats: surprise of each token but the first, which nothing predicts.
    """
    found = ends(vocabulary, ids, text)
    size, number = stretches(text)
    begins, lengths = found[:-1], np.diff(found)
    at = np.minimum(begins // size, number - 1)
    bits = np.bincount(at, weights=nats / math.log(2), minlength=number)
    return np.stack([bits, np.bincount(at, weights=lengths, minlength=number)], axis=1).tolist()


def a_token(vocabulary: Tokenizer, ids: Int[np.ndarray, " n"], text: str) -> float:
    """The factor from nats a token to bits a character."""
    first = len(vocabulary.decode(ids[:1].tolist()))
    return (len(ids) - 1) / (len(text) - first) / math.log(2)


def guess(training: str, text: str) -> Float[np.ndarray, "n 2"]:
    """Bits and characters of each stretch for one who knows how frequent characters are.

    Each character counts once more than it occurs in training, so that none is impossible.
    """
    seen, known = Counter(training), set(training) | set(text)
    whole = len(training) + len(known)
    bits = np.array([-math.log2((seen[c] + 1) / whole) for c in text])
    size, number = stretches(text)
    at = np.arange(len(text)) // size
    each = [np.bincount(at, weights=x, minlength=number) for x in (bits, np.ones(len(text)))]
    return np.stack(each, axis=1)
