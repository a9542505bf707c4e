"""Loops of a search whose state has little room at first, and more as sentences grow.

A step of attention reads the whole room, of which most is empty at the beginning. The search is
the same: at the end of a stage its state gets more room, and the loop goes on.
"""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from attention_jax.core.types import State
from attention_jax.nn.protocols import RoomyState

# Each stage is a program more to compile: they begin with so many tokens, for states so large.
SHORTEST, LEAST_BYTES = 32, 2**25


P = TypeVar("P", bound=tuple)  # a named tuple with a `position` and a `state`


def loop(
    may_go_on: Callable[[P], Bool[Array, ""]],
    advance: Callable[[P], P],
    path: P,
    *,
    max_length: int,
    missing: int = 0,
) -> P:
    """`lax.while_loop(may_go_on, advance, path)`, of at most `max_length` rounds, in stages.

    Args:
      missing: positions by which the state is too small for so many rounds, which then end before.
    """
    now: Any = path
    for length in lengths(now.state, max_length):
        now = now._replace(state=spared(now.state, max(0, max_length - length - missing)))
        within = lambda now, length=length: may_go_on(now) & (now.position < length)  # noqa: E731
        now = lax.while_loop(within, advance, now)
    return now


def lengths(state: State, max_length: int) -> list[int]:
    """After how many tokens each stage ends, where a loop in stages is worth its programs.

    Args:
      state: with room for all tokens, or for fewer; or its shapes.
    """
    leaves, structure = jax.tree.flatten(state)
    shapes = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves)
    return _lengths(structure, shapes, max_length, SHORTEST, LEAST_BYTES)


@functools.lru_cache(maxsize=256)
def _lengths(
    structure: jax.tree_util.PyTreeDef,
    shapes: tuple[jax.ShapeDtypeStruct, ...],
    max_length: int,
    shortest_length: int,
    least_bytes: int,
) -> list[int]:
    state = jax.tree.unflatten(structure, shapes)
    whole, shortest = (
        jax.eval_shape(partial(spared, n=n), state) for n in (0, max(0, max_length - 1))
    )
    if _bytes(whole) - _bytes(shortest) < least_bytes:
        return [max_length]
    halves = [max_length]
    while halves[0] >= 2 * shortest_length:
        halves.insert(0, -(-halves[0] // 2))
    return halves


def begun(state: State, max_length: int, *, missing: int = 0) -> State:
    """The state with the room of its first stage; `missing` as `loop` has it."""
    return spared(state, max(0, max_length - lengths(state, max_length)[0] - missing))


def spared(state: State, n: int) -> State:
    """The state whose parts have room for n tokens fewer than they were started for."""
    return jax.tree.map(
        lambda x: x.spared(n) if isinstance(x, RoomyState) else x,
        state,
        is_leaf=lambda x: isinstance(x, RoomyState),
    )


def _bytes(state: State) -> int:
    return sum(x.size * jnp.dtype(x.dtype).itemsize for x in jax.tree.leaves(state))
