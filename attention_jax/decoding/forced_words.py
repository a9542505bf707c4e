"""Words that an output must hold: how far each prefix is with them, and what would bring it on.

Beams are kept in banks, one for each number of tokens of the words that a prefix holds, so that a
prefix competes with those alone that are as far: the words are not crowded out by what is more
probable without them. The complete bank comes first.

Reference: Hokamp & Liu 2017, arXiv:1704.07138, grid beam search.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

Words = tuple[tuple[int, ...], ...]


def banks(words: Words) -> int:
    """Number of banks: one more than the words have tokens."""
    return sum(map(len, words)) + 1


def all_met(past: Int[Array, "r t"], words: Words) -> Bool[Array, " r"]:
    """True for rows that hold every word."""
    return jnp.all(jnp.stack([_holds(past, word) for word in words]), axis=0)


def next_tokens(
    past: Int[Array, "r t"], position: Int[Array, ""], words: Words
) -> Int[Array, "r w"]:
    """The token of each word that would bring it on: after as much of it as a row ends with."""

    def following(word: tuple[int, ...]) -> Array:
        found = jnp.full(len(past), word[0])
        for size in range(1, len(word)):
            found = jnp.where(_ends_with(past, position, word[:size]), word[size], found)
        return found

    return jnp.stack([following(word) for word in words], axis=1)


def progress(
    past: Int[Array, "r t"], position: Int[Array, ""], tokens: Int[Array, "r c"], words: Words
) -> Int[Array, "r c"]:
    """Tokens of the words that each row holds after each token.

    Of whole words all count; of the others those of the one that the row ends with most of.

    Args:
      past: tokens so far, PAD from `position` on.
      position: number of tokens so far.
      tokens: that may come next.
      words: tokens of each word.
    """
    whole, begun = jnp.zeros(tokens.shape, jnp.int32), jnp.zeros(tokens.shape, jnp.int32)
    for word in words:
        met, part = jnp.broadcast_to(_holds(past, word)[:, None], tokens.shape), 0 * begun
        for size in range(1, len(word) + 1):
            before = _ends_with(past, position, word[: size - 1])[:, None]
            ends = before & (tokens == word[size - 1])
            if size == len(word):
                met |= ends
            else:
                part = jnp.where(ends, size, part)
        whole += jnp.where(met, len(word), 0)
        begun = jnp.maximum(begun, jnp.where(met, 0, part))
    return whole + begun


def best_of_banks(
    scores: Float[Array, "b c"], counts: Int[Array, "b c"], *, k: int, number: int
) -> tuple[Float[Array, "b k2"], Int[Array, "b k2"]]:
    """The k best scores of each bank and their places, the fullest bank first.

    Args:
      scores: of candidates.
      counts: tokens of the words that each holds.
      k: candidates kept in a bank.
      number: of banks.
    """
    found = [
        lax.top_k(jnp.where(counts == count, scores, -jnp.inf), k)
        for count in reversed(range(number))
    ]
    best, places = zip(*found, strict=True)
    return jnp.concatenate(best, axis=1), jnp.concatenate(places, axis=1)


def _holds(past: Int[Array, "r t"], word: tuple[int, ...]) -> Bool[Array, " r"]:
    """True for rows that hold a word anywhere; no word holds PAD."""
    windows = past.shape[1] - len(word) + 1
    if windows < 1:
        return jnp.zeros(len(past), bool)
    same = jnp.ones((len(past), windows), bool)
    for place, token in enumerate(word):
        same &= past[:, place : place + windows] == token
    return same.any(axis=1)


def _ends_with(
    past: Int[Array, "r t"], position: Int[Array, ""], part: tuple[int, ...]
) -> Bool[Array, " r"]:
    """True for rows whose last tokens are these."""
    if len(part) > past.shape[1]:
        return jnp.zeros(len(past), bool)
    start = jnp.maximum(position - len(part), 0)
    last = lax.dynamic_slice_in_dim(past, start, len(part), axis=1)
    same = (last == jnp.array(part, past.dtype)[None]).all(axis=1)
    return same & (position >= len(part))
