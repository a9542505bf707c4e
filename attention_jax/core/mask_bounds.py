"""Which blocks of pairs a mask empties or fills, by arithmetic on the bounds of the blocks.

`some` may be true where no pair of a block is visible, and `every` false where all are; they err on
that side only, so that a block is at worst computed with its mask. They are exact for each rule of
`core.mask_rules` by itself, but for neighborhoods, and for documents whose ids come again after
others. `&`, `|` and `~` are joined block by block: a block that two masks empty or fill only
together stays partial.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from attention_jax.core import mask_rules as rules
from attention_jax.core.types import MaskFunction
from attention_jax.core.values import Bound, Held


class Blocks(NamedTuple):
    """Blocks of pairs of one sequence and head, from their first positions to their last.

    Attributes:
      b, h: the sequence and the head.
      i, last_i: of the queries.
      j, last_j: of the keys.
    """

    b: int
    h: int
    i: Int[np.ndarray, " n"]
    last_i: Int[np.ndarray, " n"]
    j: Int[np.ndarray, " n"]
    last_j: Int[np.ndarray, " n"]


class Seen(NamedTuple):
    """Pairs that each block shows.

    Attributes:
      some: one may be.
      every: all surely are.
    """

    some: Bool[np.ndarray, " n"]
    every: Bool[np.ndarray, " n"]


def seen(mask: MaskFunction, at: Blocks) -> Seen | None:
    """The pairs of blocks that a mask shows; None where only the mask itself can tell."""
    function: Any = getattr(mask, "function", mask) if not isinstance(mask, Bound) else mask
    rule, parameters = function, ()
    if isinstance(function, Bound):
        rule, parameters = function.function, function.arguments
    if rule in (rules.every, rules.either, rules.hidden):
        parts = [seen(part, at) for part in parameters]
        return None if None in parts else functools.reduce(_JOINED[rule], parts, None)
    bounds = _BOUNDS.get(rule) if isinstance(rule, type(seen)) else None
    if bounds is None:
        return None
    if not all(x.is_concrete for x in parameters if isinstance(x, Held)):
        nothing = np.zeros(at.i.shape, bool)
        return Seen(~nothing, nothing)
    return bounds(at, *parameters)


def _and(x: Seen | None, y: Seen) -> Seen:
    return y if x is None else Seen(x.some & y.some, x.every & y.every)


def _or(x: Seen | None, y: Seen) -> Seen:
    return y if x is None else Seen(x.some | y.some, x.every | y.every)


def _not(x: None, y: Seen) -> Seen:
    return Seen(~y.every, ~y.some)


def _all(at: Blocks) -> Seen:
    everything = np.ones(at.i.shape, bool)
    return Seen(everything, everything)


def _causal(at: Blocks) -> Seen:
    return Seen(at.j <= at.last_i, at.last_j <= at.i)


class _Differences(NamedTuple):
    """The differences i - j of a block, all of which occur, and their distances from 0."""

    low: np.ndarray
    high: np.ndarray
    near: np.ndarray
    far: np.ndarray


def _differences(at: Blocks) -> _Differences:
    low, high = at.i - at.last_j, at.last_i - at.j
    far = np.maximum(np.abs(low), np.abs(high))
    near = np.where((low <= 0) & (high >= 0), 0, np.minimum(np.abs(low), np.abs(high)))
    return _Differences(low, high, near, far)


def _holds_multiple(low: np.ndarray, high: np.ndarray, of: int) -> np.ndarray:
    """Where a multiple lies from `low` to `high`."""
    return high // of * of >= low


def _only_multiples(low: np.ndarray, high: np.ndarray, of: int) -> np.ndarray:
    """Where all from `low` to `high` are multiples, also where there are none."""
    return (low > high) | (of == 1) | ((low == high) & (low % of == 0))


def _window(at: Blocks, size: int) -> Seen:
    apart = _differences(at)
    return Seen(apart.near < size, apart.far < size)


def _dilated(at: Blocks, size: int, dilation: int) -> Seen:
    apart, reach = _differences(at), size * dilation - 1
    low, high = np.maximum(apart.low, -reach), np.minimum(apart.high, reach)
    every = (apart.far <= reach) & _only_multiples(low, high, dilation)
    return Seen((low <= high) & _holds_multiple(low, high, dilation), every)


def _strided(at: Blocks, stride: int) -> Seen:
    apart = _differences(at)
    before = _only_multiples(apart.low, np.minimum(apart.high, -stride), stride)
    after = _only_multiples(np.maximum(apart.low, stride), apart.high, stride)
    some = (apart.near < stride) | _holds_multiple(apart.low, apart.high, stride)
    return Seen(some, before & after)


def _chunks(at: Blocks, size: int) -> Seen:
    first_i, last_i, first_j, last_j = (x // size for x in (at.i, at.last_i, at.j, at.last_j))
    every = (first_i == last_i) & (first_j == last_j) & (first_i == first_j)
    return Seen((first_i <= last_j) & (first_j <= last_i), every)


def _column(at: Blocks, width: int) -> Seen:
    low, high, _, _ = _differences(at)
    return Seen(_holds_multiple(low, high, width), _only_multiples(low, high, width))


def _summaries(at: Blocks, stride: int, count: int) -> Seen:
    first, own = at.j % stride, stride - count  # those below `own` are hidden
    last = first + at.last_j - at.j
    some = (first >= own) | (last >= own)
    return Seen(some, (first >= own) & (last < stride) | (own == 0))


def _global_tokens(at: Blocks, count: int) -> Seen:
    return Seen((at.i < count) | (at.j < count), (at.last_i < count) | (at.last_j < count))


def _prefix(at: Blocks, length: int | Held) -> Seen:
    n = int(length.numpy()) if isinstance(length, Held) else length
    return Seen(at.j < n, at.last_j < n)


def _lengths(at: Blocks, key_lengths: Held) -> Seen:
    lengths = key_lengths.numpy()
    place = 0 if len(lengths) == 1 else at.b
    n = int(lengths[place]) if place < len(lengths) else 0
    return Seen((np.maximum(at.j, 0) < n) & (at.last_j >= 0), (at.j >= 0) & (at.last_j < n))


def _keys(at: Blocks, visible: Held) -> Seen:
    row = _row(visible.numpy(), at.b)
    if visible.array.shape[1] == 1:
        same = np.full(at.j.shape, row.any())
        return Seen(same, same)
    count = np.concatenate([[0], np.cumsum(row)])
    first, end = (np.clip(x, 0, len(row)) for x in (at.j, at.last_j + 1))
    found = count[end] - count[first]
    return Seen(found > 0, found == at.last_j + 1 - at.j)


def _row(table: np.ndarray, b: int) -> np.ndarray:
    """Of one sequence, or the one of all; nothing beyond the last."""
    b = 0 if len(table) == 1 else b
    return table[b] if b < len(table) else table[:1].reshape(-1)[:0]


class _Packed(NamedTuple):
    """Documents whose positions follow one another.

    Attributes:
      queries: positions of the queries whose documents have keys.
      documents: their numbers, never falling.
      first, last: the keys of these documents.
    """

    queries: np.ndarray
    documents: np.ndarray
    first: np.ndarray
    last: np.ndarray


@functools.lru_cache(maxsize=64)
def _packed(query_ids: Held, key_ids: Held, b: int) -> _Packed | None:
    """None where documents are not packed one after another, in one order."""
    own, others = _row(query_ids.numpy(), b), _row(key_ids.numpy(), b)
    if 1 in (query_ids.array.shape[1], key_ids.array.shape[1]):  # the same for all positions
        return None
    names, first, inverse = np.unique(others, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))  # documents in the order in which their keys begin
    numbers = place[inverse]
    at = np.minimum(np.searchsorted(names, own), max(len(names) - 1, 0))
    queries = np.flatnonzero(names[at] == own) if len(names) else np.zeros(0, int)
    documents = place[at[queries]] if len(names) else queries
    if (np.diff(numbers) < 0).any() or (np.diff(documents) < 0).any():
        return None
    starts = np.append(np.sort(first), len(others))
    return _Packed(queries, documents, starts[documents], starts[documents + 1] - 1)


def _documents(at: Blocks, query_ids: Held, key_ids: Held) -> Seen | None:
    packed = _packed(query_ids, key_ids, at.b)
    if packed is None:
        return None
    queries, documents, first, last = packed
    begin, end = np.searchsorted(queries, at.i), np.searchsorted(queries, at.last_i, "right")
    if not len(queries):
        return Seen(end > begin, end > begin)
    # Of the queries whose keys do not end before the block's, the first begins earliest.
    early = np.maximum(begin, np.searchsorted(last, at.j))
    some = (early < end) & (first[np.minimum(early, len(queries) - 1)] <= at.last_j)
    top, bottom = np.minimum(begin, len(queries) - 1), np.maximum(end - 1, 0)
    one = (end - begin == at.last_i + 1 - at.i) & (documents[top] == documents[bottom])
    return Seen(some, one & (first[top] <= at.j) & (last[top] >= at.last_j))


def _from_array(at: Blocks, visible: Held) -> Seen:
    counts = _counts(visible, at.b, at.h)
    if counts is None:
        nothing = np.zeros(at.i.shape, bool)
        return Seen(nothing, nothing)
    rows, columns = (n - 1 for n in counts.shape)
    (i, end_i), inside_i = _inside(at.i, at.last_i, rows, visible.array.shape[2])
    (j, end_j), inside_j = _inside(at.j, at.last_j, columns, visible.array.shape[3])
    found = counts[end_i, end_j] - counts[i, end_j] - counts[end_i, j] + counts[i, j]
    full = (end_i - i) * (end_j - j)
    return Seen(found > 0, (found == full) & inside_i & inside_j)


def _inside(
    first: np.ndarray, last: np.ndarray, length: int, axis: int
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """The part of blocks within an axis, up to its end, and whether that is all of them."""
    if axis == 1:  # the same for all positions
        zero = np.zeros_like(first)
        return (zero, zero + 1), zero == 0
    begin, end = (np.clip(x, 0, length) for x in (first, last + 1))
    return (begin, end), (first >= 0) & (last < length)


@functools.lru_cache(maxsize=8)
def _counts(visible: Held, b: int, h: int) -> np.ndarray | None:
    """Visible pairs above and left of each place, of one sequence and head; None beyond them."""
    table = visible.numpy()
    b, h = (0 if n == 1 else at for n, at in zip(table.shape, (b, h), strict=False))
    if b >= table.shape[0] or h >= table.shape[1]:
        return None
    sums = np.cumsum(np.cumsum(table[b, h], 0, dtype=np.int64), 1)
    return np.pad(sums, ((1, 0), (1, 0)))


def _neighborhood(at: Blocks, size: int, height: int, width: int) -> Seen:
    count = height * width
    rows = _near(size, height, *(x // width for x in at[2:]))
    columns = []
    for first, last in ((at.i, at.last_i), (at.j, at.last_j)):
        whole = (first // width != last // width) | (last - first >= width)
        columns += [np.where(whole, 0, first % width), np.where(whole, width - 1, last % width)]
    across = _near(size, width, *columns)
    some = (at.i < count) & (at.j < count) & rows.some & across.some
    every = (at.last_i < count) & (at.last_j < count) & rows.every & across.every
    return Seen(some, every)


def _near(size: int, length: int, *bounds: np.ndarray) -> Seen:
    first, last, low, high = bounds
    start, end = (np.clip(x - size // 2, 0, max(length - size, 0)) for x in (first, last))
    some = (high >= start) & (low < end + size)
    return Seen(some, (low >= end) & (high < start + size))


_JOINED: dict[Any, Callable[..., Seen]] = {rules.every: _and, rules.either: _or, rules.hidden: _not}
_BOUNDS: dict[Any, Callable[..., Seen | None]] = {
    rules.full: _all,
    rules.causal: _causal,
    rules.window: _window,
    rules.dilated: _dilated,
    rules.strided: _strided,
    rules.chunks: _chunks,
    rules.column: _column,
    rules.summaries: _summaries,
    rules.global_tokens: _global_tokens,
    rules.prefix: _prefix,
    rules.lengths: _lengths,
    rules.keys: _keys,
    rules.documents: _documents,
    rules.from_array: _from_array,
    rules.neighborhood: _neighborhood,
}
