"""Alignment of words, read off the attention of a decoder to the source.

    found = attention_maps.sentence(model, source, target)["cross"]
    words = [words_of(tokenizer, ids) for ids in (source, target)]
    own = word_weights(found.weights[layer, head], source=words[0].numbers, target=words[1].numbers)
    links(own)                       # {(0, 0), (1, 1), (2, 3), ...}

A link is a word of the source and a word of the target, by their numbers in this order.
"""

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from attention_jax.core.plain_types import typed_calls
from attention_jax.data.tokenizer import Tokenizer

Links = AbstractSet[tuple[int, int]]
# A word with its inner apostrophes and hyphens, or one sign.
_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*|[^\w\s]")
_CUT = "\ufffd"  # stands for the bytes of a character that is not whole yet


class Words(NamedTuple):
    """The words of a text, and which of them each token belongs to.

    Attributes:
      words: in their order; a punctuation mark is one.
      numbers: of each token the number of its word; None for tokens of none, such as EOS.
    """

    words: tuple[str, ...]
    numbers: tuple[int | None, ...]


@typed_calls
def words_of(tokenizer: Tokenizer, ids: Sequence[int]) -> Words:
    """The words that tokens spell.

    A token belongs to the first word that is not whole before it: a mark of a space to the word
    after it, each byte of a character to the character's word.

    Args:
      tokenizer: of the tokens.
      ids: the tokens, with EOS or without.
    """
    found = list(_WORD.finditer(tokenizer.decode(ids)))
    before = [len(tokenizer.decode(ids[:i]).rstrip(_CUT + " ")) for i in range(len(ids))]
    ends = [word.end() for word in found]
    numbers = [next((n for n, end in enumerate(ends) if end > start), None) for start in before]
    return Words(tuple(word.group() for word in found), tuple(numbers))


@typed_calls
def word_weights(
    weights: Float[np.ndarray, "t s"],
    *,
    source: Sequence[int | None],
    target: Sequence[int | None],
) -> Float[np.ndarray, "j i"]:
    """Weights of words in words, of weights of tokens in tokens.

        w[j, i] = mean_{t in word j} sum_{s in word i} weights[t, s]

    What tokens of no word get is left out; a word without tokens has weights of 0.

    Args:
      weights: of each source token (columns) in each target token (rows): of one head, or the mean
        of several.
      source: the number of each source token's word, as `Words.numbers`.
      target: the same of each target token.

    Raises:
      ValueError: there are not as many numbers as tokens.
    """
    for name, own, size in (("target", target, len(weights)), ("source", source, weights.shape[1])):
        if len(own) != size:
            raise ValueError(
                f"`{name}` must number the word of each of {size} tokens of the weights; got "
                f"{len(own)}. Count EOS too, as None."
            )
    columns, rows = _members(source), _members(target)
    pieces = rows.sum(axis=1, keepdims=True)
    return rows / np.maximum(pieces, 1) @ np.asarray(weights, np.float64) @ columns.T


@typed_calls
def links(weights: Float[np.ndarray, "j i"], *, both_ways: bool = False) -> Links:
    """Links of each target word to the source word of the largest weight in it.

    Args:
      weights: of each source word (columns) in each target word (rows), as `word_weights`.
      both_ways: keep those alone that link each source word to the target word in which it has
        its largest weight.

    >>> sorted(links(np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])))
    [(0, 0), (0, 2), (1, 1)]
    """
    if not weights.size:
        return frozenset()
    found = {(int(i), j) for j, i in enumerate(weights.argmax(axis=1)) if weights[j, i] > 0}
    if both_ways:
        found &= {(i, int(j)) for i, j in enumerate(weights.argmax(axis=0))}
    return frozenset(found)


@typed_calls
def error_rate(
    found: Sequence[Links], *, sure: Sequence[Links], possible: Sequence[Links]
) -> float:
    """Alignment error rate of a corpus, from 0 to 1; 0 is best.

        AER = 1 - (|A & S| + |A & P|) / (|A| + |S|)

    Args:
      found: A, of each sentence.
      sure: S, links that must be there.
      possible: P, those that may be; sure ones count among them, named or not.

    Raises:
      ValueError: the numbers of sentences differ, or there are no links at all.

    Reference: Och and Ney 2003, Computational Linguistics 29(1), J03-1002, section 4.1.

    >>> error_rate([{(0, 0), (1, 1)}], sure=[{(0, 0)}], possible=[{(1, 0)}])
    0.33333333333333337
    """
    if not len(found) == len(sure) == len(possible):
        raise ValueError(
            "`found`, `sure` and `possible` must be of the same sentences; got "
            f"{len(found)}, {len(sure)} and {len(possible)}."
        )
    right, total = 0, 0
    for own, must, may in zip(found, sure, possible, strict=True):
        right += len(own & must) + len(own & (must | may))
        total += len(own) + len(must)
    if not total:
        raise ValueError("`found` or `sure` must hold a link; got none. Give sentences with words.")
    return 1 - right / total


def _members(numbers: Sequence[int | None]) -> Float[np.ndarray, "n t"]:
    """1 where a token (columns) is of a word (rows)."""
    own = np.array([-1 if number is None else number for number in numbers], int)
    return (np.arange(own.max(initial=-1) + 1)[:, None] == own).astype(np.float64)
