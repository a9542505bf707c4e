"""The blocks of pairs that a mask leaves, from large blocks to small ones.

A large block that is empty or full as a whole is not looked into, so the time goes with the
number of blocks on the border between what is hidden and what is not.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

# So many blocks of blocks lie along a side of the next larger one.
FACTOR = 8
# Blocks at most on the first level, and on any: more are not told apart, and stay partial.
FIRST, MOST = 2**12, 2**22


class Runs(NamedTuple):
    """Blocks of keys that follow one another, for a block of queries.

    Attributes:
      row: the block of queries.
      first: the first block of keys.
      count: how many there are.
    """

    row: Int[np.ndarray, " n"]
    first: Int[np.ndarray, " n"]
    count: Int[np.ndarray, " n"]


class Found(NamedTuple):
    """The blocks that are not empty.

    Attributes:
      partial: where some pairs are hidden, or may be.
      full: where none is.
      is_exact: whether every block was looked at by itself.
    """

    partial: Runs
    full: Runs
    is_exact: bool


# (first rows, last rows, first columns, last columns) of blocks -> may some pairs be visible, are
# all. Each an array; the first and last block count too.
Classify = Callable[
    [np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]],
]


def search(rows: int, columns: int, classify: Classify) -> Found:
    """Sorts `rows` x `columns` blocks; those that are in no run are empty."""
    size = 1
    while -(-rows // size) * -(-columns // size) > FIRST:
        size *= FACTOR
    found: dict[bool, list[tuple[np.ndarray, ...]]] = {True: [], False: []}
    row, column = (
        x.reshape(-1) for x in np.mgrid[: -(-rows // size), : -(-columns // size)].astype(np.int64)
    )
    while True:
        top, left = row * size, column * size
        bottom, right = np.minimum(top + size, rows), np.minimum(left + size, columns)
        some, every = classify(top, bottom - 1, left, right - 1)
        border = some & ~every
        found[True].append(tuple(x[every] for x in (top, bottom, left, right)))
        last = size == 1 or border.sum() * FACTOR**2 > MOST
        if last:
            found[False].append(tuple(x[border] for x in (top, bottom, left, right)))
            break
        size //= FACTOR
        row, column = _parts(row[border], column[border], -(-rows // size), -(-columns // size))
    return Found(_runs(found[False]), _runs(found[True]), size == 1)


def _parts(
    row: np.ndarray, column: np.ndarray, rows: int, columns: int
) -> tuple[np.ndarray, np.ndarray]:
    """The next smaller blocks of each."""
    inner = np.arange(FACTOR)
    row, column = (
        x.reshape(-1)
        for x in np.broadcast_arrays(
            row[:, None, None] * FACTOR + inner[:, None], column[:, None, None] * FACTOR + inner
        )
    )
    inside = (row < rows) & (column < columns)
    return row[inside], column[inside]


def _runs(rectangles: list[tuple[np.ndarray, ...]]) -> Runs:
    """Rows of rectangles, those that touch as one."""
    top, bottom, left, right = (np.concatenate(x) for x in zip(*rectangles, strict=True))
    height = bottom - top
    row = np.repeat(top - np.cumsum(height) + height, height) + np.arange(height.sum())
    first, end = np.repeat(left, height), np.repeat(right, height)
    order = np.lexsort((first, row))
    row, first, end = row[order], first[order], end[order]
    starts = np.ones(len(row), bool)
    starts[1:] = (row[1:] != row[:-1]) | (first[1:] != end[:-1])
    last = np.append(np.flatnonzero(starts)[1:], len(row))[: starts.sum()] - 1
    row, first = row[starts], first[starts]
    return Runs(row, first, end[last] - first)
