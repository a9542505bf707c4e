"""Synthetic memory tasks, sampled with NumPy.

Each gives a batch and, for each prediction, how many positions back the needed token lies:

    generator = np.random.default_rng(0)
    drawn = multi_query_associative_recall(generator, 64, length=64, pairs=4)
    drawn.batch.tokens, drawn.batch.targets, drawn.batch.weights, drawn.distance
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from attention_jax.core import checks, plain_types
from attention_jax.core.plain_types import typed_calls
from attention_jax.data.types import SeriesBatch, TokenBatch

_STEPS = 100_000_000  # grain fixes the length of its pipeline: more steps than anyone will run


class Drawn(NamedTuple):
    """A batch, and the distance to the needed token for each prediction of weight 1."""

    batch: TokenBatch | SeriesBatch
    distance: Int[Any, "b ..."]


Problem = Callable[[np.random.Generator, int], Drawn]  # (generator, rows) -> Drawn


@typed_calls
def multi_query_associative_recall(
    draw: np.random.Generator,
    rows: int,
    *,
    length: int,
    pairs: int,
    vocabulary: int = 8192,
    power: float = 0.01,
) -> Drawn:
    """Multi-query associative recall (MQAR): the value that followed each key.

        k1 v1 k2 v2 .. | * k2 * * * k1 * ..      targets v2 and v1, at the positions of the keys

    Keys are tokens 1 to vocabulary / 2 - 1 and values tokens from vocabulary / 2, without repeats.
    Each key is queried once, at an even gap 2 g after the pairs, with distinct g of probability
    ~ (g + 1)^(power - 1); the rest is filled with random tokens.

    Args:
      draw: the random generator.
      rows: number of sequences.
      length: tokens of each sequence, even.
      pairs: key-value pairs of each sequence, at most a quarter of the length.
      vocabulary: number of tokens, including 0, which is no key; even, and enough for the pairs.
      power: exponent of the gaps; 1 makes them uniform.

    Raises:
      ValueError: a number is out of range.

    Reference: Arora et al. 2023 (Zoology), arXiv:2312.04927, appendix; the defaults are theirs.
    """
    _even(length=length, vocabulary=vocabulary)
    checks.positive("rows", rows)
    if pairs < 1 or 4 * pairs > length:
        raise ValueError(
            f"`pairs` must be at least 1 and at most a quarter of the length; got pairs={pairs}, "
            f"length={length}. Use pairs={max(1, length // 4)} or less."
        )
    if vocabulary < 2 * pairs + 2:
        raise ValueError(
            f"`vocabulary` must hold {pairs} keys and as many values; got {vocabulary}. Use "
            f"{2 * pairs + 2} or more."
        )
    half, start = vocabulary // 2, 2 * pairs
    keys = 1 + _distinct(draw.random((rows, half - 1)), pairs)
    values = half + _distinct(draw.random((rows, half)), pairs)
    space = (length - start) // 2
    # The largest of log p plus Gumbel noise are a sample by p without replacement.
    chances = (power - 1) * np.log(np.arange(1, space + 1))
    gaps = _distinct(-(chances + draw.gumbel(size=(rows, space))), pairs)
    at, key_at = start + 2 * gaps, np.broadcast_to(2 * np.arange(pairs), gaps.shape)
    tokens = draw.integers(vocabulary, size=(rows, length))
    tokens[:, 0:start:2], tokens[:, 1:start:2] = keys, values
    np.put_along_axis(tokens, at, keys, axis=1)
    return _drawn(tokens, at, values, at - key_at)


@typed_calls
def copying(
    draw: np.random.Generator, rows: int, *, length: int, symbols: int = 10, alphabet: int = 8
) -> Drawn:
    """Copying: symbols to be repeated after a delay.

        s1 .. sn 0 0 .. 0 ! 0 .. 0       targets s1 .. sn at the last n

    Tokens are 0, a blank; 1 to alphabet, the symbols; and alphabet + 1, the delimiter. Only the
    last n predictions count here; the paper counts the blanks too.

    Args:
      draw: the random generator.
      rows: number of sequences.
      length: tokens of each sequence; the delay is length - 2 symbols.
      symbols: n.
      alphabet: number of different symbols.

    Raises:
      ValueError: the symbols do not fit twice.

    Reference: Hochreiter and Schmidhuber 1997, experiment 2; as here: Arjovsky et al. 2016,
    arXiv:1511.06464, section 4.1.
    """
    plain_types.sizes(rows=rows, symbols=symbols, alphabet=alphabet)
    if length <= 2 * symbols:
        raise ValueError(
            f"`length` must be more than twice the symbols; got length={length}, "
            f"symbols={symbols}. Use length={2 * symbols + 1} or more."
        )
    said = draw.integers(1, alphabet + 1, (rows, symbols))
    tokens = np.zeros((rows, length), int)
    tokens[:, :symbols], tokens[:, -symbols - 1] = said, alphabet + 1
    at = np.broadcast_to(np.arange(length - symbols, length), said.shape)
    return _drawn(tokens, at, said, np.full(said.shape, length - symbols))


@typed_calls
def induction(draw: np.random.Generator, rows: int, *, length: int, vocabulary: int = 16) -> Drawn:
    """Induction heads: the token that followed the only earlier occurrence of the marker.

        a c ! b d a .. c !       target b, at the end

    Tokens are 0 to vocabulary - 2, and the marker, vocabulary - 1. The first marker is anywhere but
    at the last two positions.

    Raises:
      ValueError: `length` is below 3, or `vocabulary` below 3.

    Reference: Olsson et al. 2022, arXiv:2209.11895; as here: Fu et al. 2023 (H3),
    arXiv:2212.14052, table 1, and Gu and Dao 2023, arXiv:2312.00752, section 4.1.2.
    """
    checks.positive("rows", rows)
    if length < 3 or vocabulary < 3:
        raise ValueError(
            f"`length` and `vocabulary` must be at least 3; got {length} and {vocabulary}."
        )
    tokens = draw.integers(vocabulary - 1, size=(rows, length))
    first = draw.integers(length - 2, size=(rows, 1))
    np.put_along_axis(tokens, first, vocabulary - 1, axis=1)
    tokens[:, -1] = vocabulary - 1
    answer = np.take_along_axis(tokens, first + 1, axis=1)
    at = np.full((rows, 1), length - 1)
    return _drawn(tokens, at, answer, at - first)


@typed_calls
def permutations(
    draw: np.random.Generator, rows: int, *, length: int, items: int = 5, moved: int | None = None
) -> Drawn:
    """State tracking: the permutation that all tokens so far make, one after another.

        target_t = token_1, then token_2, .. then token_t

    Tokens are the permutations of some items in lexicographic order; token 0 changes nothing. Two
    items make parity. All tokens up to a prediction are needed, the furthest of which its distance
    tells. With five items it is a problem that constant depth is thought not to solve, unless
    its width, or its depth, grows with the length. Swaps of two items make all permutations too,
    and take far fewer examples to learn: of 5 items there are 10 swaps.

    Args:
      draw: the random generator.
      rows: number of sequences.
      length: tokens of each sequence.
      items: that change places, from 2 to 6.
      moved: tokens change the places of so many items at most: 2 for swaps, and token 0. Default:
        all permutations are tokens.

    Raises:
      ValueError: a number is out of range.

    Reference: Merrill et al. 2024, arXiv:2404.08819, section 5; swaps: Grazzi et al. 2024,
    arXiv:2411.12537, section 5; parity: Hahn 2020, arXiv:1906.06755.
    """
    plain_types.sizes(rows=rows, length=length)
    if not 2 <= items <= 6:
        raise ValueError(f"`items` must be from 2 to 6; got {items}.")
    if moved is not None and not 2 <= moved <= items:
        raise ValueError(f"`moved` must be from 2 to items={items}, or None for all; got {moved}.")
    after = _products(items)
    tokens = draw.choice(_tokens(items, items if moved is None else moved), size=(rows, length))
    states = list(itertools.accumulate(tokens.T, lambda state, token: after[state, token]))
    at = np.broadcast_to(np.arange(length), tokens.shape)
    return _drawn(tokens, at, np.stack(states, axis=1), at)


@functools.cache
def _tokens(items: int, moved: int) -> np.ndarray:
    """The numbers of the permutations that move so many items at most."""
    every = itertools.permutations(range(items))
    counts = (sum(i != place for i, place in enumerate(one)) for one in every)
    return np.array([n for n, count in enumerate(counts) if count <= moved])


@functools.cache
def _products(items: int) -> np.ndarray:
    """The number of the permutation that comes of one and then another."""
    every = list(itertools.permutations(range(items)))
    number = {one: n for n, one in enumerate(every)}
    return np.array([[number[tuple(one[i] for i in then)] for then in every] for one in every])


@typed_calls
def adding(draw: np.random.Generator, rows: int, *, length: int) -> Drawn:
    """Adding: the sum of two marked numbers of a series.

        x_t = (u_t, m_t), u_t uniform on [0, 1), m_t 1 at one t of each half and 0 elsewhere
        y = sum_t u_t m_t

    Always answering 1, the mean, gives a squared error of 1/6 = 0.167.

    Raises:
      ValueError: `length` is below 2.

    Reference: Hochreiter and Schmidhuber 1997, experiment 4; as here: Arjovsky et al. 2016,
    arXiv:1511.06464, section 4.2.
    """
    checks.positive("rows", rows)
    if length < 2:
        raise ValueError(f"`length` must be at least 2; got {length}.")
    numbers, marks = draw.random((rows, length)), np.zeros((rows, length))
    halves = (0, length // 2), (length // 2, length)
    marked = np.stack([draw.integers(*half, rows) for half in halves], axis=1)
    np.put_along_axis(marks, marked, 1.0, axis=1)
    vectors = np.stack([numbers, marks], axis=-1).astype(np.float32)
    sums = np.sum(numbers * marks, axis=1).astype(np.float32)
    return Drawn(SeriesBatch(vectors, sums, np.ones(rows, np.float32)), length - 1 - marked[:, 0])


@typed_calls
def mixed(*problems: Problem) -> Problem:
    """A problem that draws each batch from one of several, with equal probability."""
    for problem in problems:
        checks.called_with("problems", problem, "(generator, rows)")
    if len(problems) == 1:
        return problems[0]
    return lambda draw, rows: problems[draw.integers(len(problems))](draw, rows)


class DrawnBatches:
    """Batches of a problem: batch i is drawn from `(seed, i)` alone.

    Args:
      problem: `(generator, rows) -> Drawn`.
      rows: sequences in a batch.
      seed: seed of the draws.
      batches_per_epoch: number of batches in an epoch of validation.
    """

    @typed_calls
    def __init__(self, problem: Problem, *, rows: int, seed: int, batches_per_epoch: int = 100):
        plain_types.sizes(rows=rows, batches_per_epoch=batches_per_epoch)
        checks.natural("seed", seed)
        self._problem, self._rows, self._seed = problem, rows, seed
        self.batches_per_epoch = batches_per_epoch

    def __len__(self) -> int:
        return _STEPS

    def drawn(self, index: int) -> Drawn:
        """A batch and its distances."""
        return self._problem(np.random.default_rng((self._seed, int(index))), self._rows)

    def __getitem__(self, index: int) -> TokenBatch | SeriesBatch:
        return self.drawn(index).batch

    def epoch(self, number: int = 0) -> Iterator[TokenBatch | SeriesBatch]:
        """Batches of one epoch."""
        first = number * self.batches_per_epoch
        return (self[first + i] for i in range(self.batches_per_epoch))


def _drawn(tokens: np.ndarray, at: np.ndarray, answers: np.ndarray, far: np.ndarray) -> Drawn:
    """Predictions at positions [b n] of the tokens [b t]."""
    targets, distance = np.zeros((2, *tokens.shape), np.int32)
    weights = np.zeros(tokens.shape, np.float32)
    np.put_along_axis(targets, at, answers.astype(np.int32), axis=1)
    np.put_along_axis(distance, at, far.astype(np.int32), axis=1)
    np.put_along_axis(weights, at, 1.0, axis=1)
    return Drawn(TokenBatch(tokens.astype(np.int32), targets, weights), distance)


def _distinct(noise: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` smallest numbers of each row, in increasing order."""
    some = np.argpartition(noise, count - 1, axis=1)[:, :count]
    order = np.argsort(np.take_along_axis(noise, some, axis=1), axis=1)
    return np.take_along_axis(some, order, axis=1)


def _even(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 2 or number % 2:
            raise ValueError(
                f"`{name}` must be even and at least 2; got {number}. Use {number + number % 2}."
            )
