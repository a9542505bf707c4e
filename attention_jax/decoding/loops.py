"""Searches as loops, token by token, over the unfinished sentences of a batch."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from attention_jax.core.types import State
from attention_jax.decoding import stages
from attention_jax.decoding.types import DecodingResult, Step

Path = Any  # a named tuple with a `position`, a `state` and `token`, whose first axis is the batch


class Loop(NamedTuple):
    """A search as a loop.

    Attributes:
      start: `(state) -> path` before the first token.
      unfinished: `(path) -> [b]`, True for rows whose result may still change.
      advance: `(step, path) -> path` with a token more.
      result: `(path) -> DecodingResult`.
      max_length: largest number of tokens.
    """

    start: Callable[[State], Path]
    unfinished: Callable[[Path], Bool[Array, " b"]]
    advance: Callable[[Step, Path], Path]
    result: Callable[[Path], DecodingResult]
    max_length: int


def run(
    loop: Loop, step: Step, state: State, *, limit: Array | None = None, missing: int = 0
) -> DecodingResult:
    """The result of a loop, all rows of which go on until the last has ended.

    Args:
      limit: number of tokens to end after, where a run alone tells it.
      missing: positions by which the state is too small for `max_length`; see `stages.loop`.
    """

    def may_go_on(path: Path) -> Bool[Array, ""]:
        unfinished = jnp.any(loop.unfinished(path))
        return unfinished if limit is None else unfinished & (path.position < limit)

    path = stages.loop(
        may_go_on,
        partial(loop.advance, step),
        loop.start(state),
        max_length=loop.max_length,
        missing=missing,
    )
    return loop.result(path)


def of_rows(path: Path, rows: Int[Array, " n"]) -> Path:
    """The path of some rows of a batch; the beams of each lie together, and come along."""
    b = len(path.token)

    def own(x: Array) -> Array:
        beams = x.shape[0] // b
        return x.reshape(b, beams, *x.shape[1:])[rows].reshape(len(rows) * beams, *x.shape[1:])

    moved = jax.tree.map(own, path._replace(position=None))
    return moved._replace(position=path.position)
