"""Blocks that the Pallas kernels visit: their sizes, and a list for each line of them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PyTree

from attention_jax.core.numerics import Offset
from attention_jax.core.types import Like
from attention_jax.engine import block_map
from attention_jax.engine.block_map import BlockMap, Shape, Sizes, TracedMask

# The least positions in a block: what a tensor core multiplies.
LEAST = 16
# How many numbers tell the blocks of a line; see `listed`.
ONE_RUN, TWO_RUNS = 2, 4

# Programs that keep a GPU busy: about two for each of its cores. A part of the keys takes so many
# blocks at least, for a part costs a sum of its own.
PROGRAMS, LEAST_BLOCKS = 256, 2


class Launch(NamedTuple):
    """Queries and keys in a block, and the warps that compute it."""

    queries: int
    keys: int
    warps: int


# By bytes of a number and by width, as FlexAttention of PyTorch 2.13 has them where a block gets 99
# KiB, which is the least (torch/_inductor/template_heuristics/triton.py, `sm_120` forward; backward
# `sm8x`). Its blocks of 16 for float32, backward, are taken only where vectors are wide.
FORWARD = {
    2: {64: Launch(128, 64, 4), 128: Launch(128, 64, 8), 256: Launch(32, 64, 4)},
    4: {64: Launch(128, 32, 4), 128: Launch(128, 32, 4), 256: Launch(64, 16, 4)},
}
BACKWARD = {
    2: {64: Launch(64, 64, 4), 128: Launch(64, 64, 4), 256: Launch(32, 32, 4)},
    4: {64: Launch(64, 32, 4), 128: Launch(32, 16, 4), 256: Launch(16, 16, 4)},
}


def launch(
    table: dict[int, dict[int, Launch]], query: Like, key: Like, value: Like, *, longest: bool
) -> Launch:
    """The row of a table for arrays; blocks are cut to the lengths.

    Args:
      longest: keeps the blocks as long as the table has them.
    """
    rows, wide = table[query.dtype.itemsize], max(key.shape[-1], value.shape[-1])
    found = rows[min(n for n in rows if n >= wide)]
    if longest:
        return found
    queries, keys = (min(n, power(x.shape[1])) for n, x in zip(found, (query, key), strict=False))
    return Launch(queries, keys, found.warps)


def power(length: int) -> int:
    """The next power of 2, of at least `LEAST`."""
    return max(LEAST, 1 << (length - 1).bit_length())


def parts(tiles: BlockMap, shape: Shape) -> int:
    """Programs that share the keys of each query, where few queries would leave a GPU idle.

    Reference: Dao et al. 2023, "Flash-Decoding for long-context inference".
    """
    heads, blocks = max(shape.b * shape.g * shape.r, 1), tiles.counts[2]
    if tiles.counts[1] != 1:
        return 1
    return max(min(PROGRAMS // heads, blocks // LEAST_BLOCKS), 1)


def tiling(
    shape: Shape,
    conjuncts: Sequence[TracedMask],
    offsets: tuple[Offset, Offset],
    sizes: tuple[int, int],
) -> BlockMap:
    """The blocks to visit: one list for all heads, where no known mask tells them apart."""
    apart = any(any(x.used[:2]) for x in conjuncts if x.is_known(offsets))
    heads = 1 if apart else max(shape.b * shape.g, 1)
    return block_map.block_map(conjuncts, shape, Sizes(heads, *sizes), offsets)


def refined(tiles: BlockMap, shape: Shape, sizes: tuple[int, int]) -> BlockMap:
    """The same pairs in smaller blocks, whose sizes divide those of `tiles`.

    A part of a block whose pairs are hidden in part is taken for another such block.
    """
    queries, keys = (min(n, own) for n, own in zip(sizes, tiles.sizes[1:], strict=True))
    down, across = tiles.sizes.queries // queries, tiles.sizes.keys // keys
    counts = (tiles.counts[0], -(-shape.t // queries), -(-shape.s // keys))

    def split(runs: Int[np.ndarray, "n 4"]) -> Int[np.ndarray, "m 4"]:
        chunk, row, first, count = np.repeat(runs, down, axis=0).T
        row = row * down + np.tile(np.arange(down, dtype=row.dtype), len(runs))
        last = np.minimum((first + count) * across, counts[2])
        parts = np.stack([chunk, row, first * across, last - first * across], -1)
        return parts[row < counts[1]]

    return BlockMap(
        Sizes(tiles.sizes.heads, queries, keys),
        counts,
        split(tiles.partial_runs),
        split(tiles.full_runs),
        is_exact=False,
    )


def lists(tiles: BlockMap, *, by_keys: bool) -> dict[str, Int[np.ndarray, "chunks lines numbers"]]:
    """For each block of queries its blocks of keys, or the other way round, by `listed`."""
    found = {}
    for name, places in (("partial", tiles.partial), ("full", tiles.full)):
        hit = np.zeros(tiles.counts, np.bool_)
        hit[tuple(places.T)] = True
        if len(places):
            found[name] = listed(hit.swapaxes(1, 2) if by_keys else hit)
    return found


def listed(hit: Bool[np.ndarray, "chunks lines n"]) -> Int[np.ndarray, "chunks lines numbers"]:
    """The blocks of each line, as the fewest numbers that tell them.

    Where no line has more than one run of blocks, `(first, last + 1)`; where none has more than
    two, `(first, last + 1 of as many in one run, what to add from the second run on, where in the
    one run that begins)`; else how many there are, and the blocks.
    """
    n, count = hit.shape[-1], hit.sum(-1)
    edges = np.diff(hit.astype(np.int8), axis=-1, prepend=0, append=0)
    runs, first, stop = (edges == 1).sum(-1), (edges == 1).argmax(-1), (edges == -1).argmax(-1)
    if runs.max(initial=0) <= 1:
        return np.stack([first, first + count], -1).astype(np.int32)
    if runs.max() == 2:
        second = np.where(runs == 2, n - (edges == 1)[..., ::-1].argmax(-1), stop)
        return np.stack([first, first + count, second - stop, stop], -1).astype(np.int32)
    order = np.argsort(~hit, axis=-1, kind="stable")[..., : count.max()]
    # Wider than any list of runs, from which the kernels tell it by its width.
    order = np.pad(order, ((0, 0), (0, 0), (0, max(TWO_RUNS - order.shape[-1], 0))))
    return np.concatenate([count[..., None], order], -1).astype(np.int32)


def visits(
    blocks: PyTree, chunk: Array, line: Array
) -> tuple[Array, Array, Callable[[Array], Array]]:
    """`first, last, block`: a kernel visits `block(n)` for `first <= n < last`.

    Args:
      blocks: reference to an array of `listed`.
      chunk, line: its places on the first two axes.
    """
    width = blocks.shape[-1]
    # Read once: a number that is read within a loop keeps vectors from being loaded ahead.
    read = lambda n: blocks[chunk, line, n]  # noqa: E731
    if width == ONE_RUN:
        return read(0), read(1), lambda n: n
    if width == TWO_RUNS:
        shift, start = read(2), read(3)
        return read(0), read(1), lambda n: jnp.where(n < start, n, n + shift)
    return jnp.int32(0), read(0), lambda n: blocks[chunk, line, n + 1]
