"""Searches run from the host, whose batches shrink as sentences end.

A program runs until a power of two of rows, at most half of its own, holds all sentences that are
unfinished, or until their state needs more room (`stages`). The search goes on with those rows
alone: each sentence has the result of the whole batch's search, but for rounding, since products of
other sizes sum in another order.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool

from attention_jax.core.types import State
from attention_jax.decoding import stages
from attention_jax.decoding.loops import Loop, Path, of_rows
from attention_jax.decoding.types import DecodingResult, Step
from attention_jax.parallel.placement import fetch

# (path, asked, length) -> what `stage` returns; compiled for each shape and length
Stage = Callable[[Path, np.ndarray, int], tuple[Path, Array, DecodingResult]]


def fitting(count: int, most: int) -> int:
    """Rows of the program for so many sentences: the next power of two, at most `most`.

    >>> [fitting(count, 24) for count in (1, 3, 16, 17)]
    [1, 4, 16, 24]
    """
    return min(most, 1 << max(count - 1, 0).bit_length())


def half(rows: int) -> int:
    """The largest power of two that is at most half of the rows; 0 of one row.

    >>> [half(rows) for rows in (1, 2, 3, 16, 24)]
    [0, 1, 1, 8, 8]
    """
    return 1 << (rows // 2).bit_length() - 1 if rows > 1 else 0


def start(loop: Loop, state: State) -> Path:
    """The path before its first token, with the room of its first stage, to be donated."""
    path = loop.start(state)
    path = path._replace(state=stages.begun(path.state, loop.max_length))
    # Without it an argument of the program might be part of the path, and be donated with it.
    return lax.optimization_barrier(path)


def stage(
    loop: Loop, step: Step, path: Path, asked: Bool[Array, " b"], length: int, *, fewest: int = 1
) -> tuple[Path, Bool[Array, " b"], DecodingResult]:
    """Goes on until fewer rows hold all unfinished sentences that are asked for.

    Args:
      asked: False for rows whose results are known, or that are padding.
      length: number of tokens for which the state has room.
      fewest: rows below which no batch shrinks.

    Returns:
      The path, its unfinished rows, and the results of the others.
    """
    smaller = half(len(path.token))
    enough = smaller if smaller >= fewest else 0

    def may_go_on(path: Path) -> Bool[Array, ""]:
        unfinished = (loop.unfinished(path) & asked).sum()
        return (unfinished > enough) & (path.position < length)

    path = lax.while_loop(may_go_on, partial(loop.advance, step), path)
    return path, loop.unfinished(path) & asked, loop.result(path)


def run(
    path: Path, run_stage: Stage, *, count: int, max_length: int, fewest: int = 1
) -> DecodingResult:
    """The results of all rows of a path, of which the first `count` are asked for.

    Args:
      path: as `start` returns it; it is donated.
      run_stage: `stage`, compiled.
      fewest: as `stage` has it.
    """
    rows, found = np.arange(len(path.token)), []
    asked, position, room = rows < count, 0, stages.lengths(path.state, max_length)[0]
    while True:
        length = next(x for x in stages.lengths(path.state, max_length) if x > position)
        if length != room:
            path, room = _with_room(path, spare=max_length - length), length
        path, unfinished, result = run_stage(path, asked, length)
        found = found or [np.array(fetch(x)) for x in result]
        for whole, own in zip(found, result, strict=True):
            whole[rows] = fetch(own)
        asked, position = fetch(unfinished), int(path.position)
        if position >= max_length or not asked.any():
            return DecodingResult(*map(jnp.asarray, found))
        size = fitting(max(int(asked.sum()), fewest), len(rows))
        if size < len(rows):
            kept = np.sort(np.argsort(~asked, kind="stable")[:size])
            path, rows, asked = _of_rows(path, kept), rows[kept], asked[kept]


@partial(jax.jit, static_argnames="spare")
def _with_room(path: Path, *, spare: int) -> Path:
    return path._replace(state=stages.spared(path.state, spare))


_of_rows = jax.jit(of_rows)
