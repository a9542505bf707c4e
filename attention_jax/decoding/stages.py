"""Loops of a search whose state has little room at first, and more as sentences grow.

A step of attention reads the whole room, of which most is empty at the beginning. The search is
the same: at the end of a stage its state gets more room, and the loop goes on.
"""

from collections.abc import Callable
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
) -> P:
    """`lax.while_loop(may_go_on, advance, path)`, of at most `max_length` rounds, in stages."""
    now: Any = path
    for length in lengths(now.state, max_length):
        now = now._replace(state=_spared(now.state, max_length - length))
        within = lambda now, length=length: may_go_on(now) & (now.position < length)  # noqa: E731
        now = lax.while_loop(within, advance, now)
    return now


def lengths(state: State, max_length: int) -> list[int]:
    """After how many tokens each stage ends, where a loop in stages is worth its programs."""
    shortest = jax.eval_shape(lambda: _spared(state, max_length - 1))
    if _bytes(state) - _bytes(shortest) < LEAST_BYTES:
        return [max_length]
    halves = [max_length]
    while halves[0] >= 2 * SHORTEST:
        halves.insert(0, -(-halves[0] // 2))
    return halves


def _bytes(state: State) -> int:
    return sum(x.size * jnp.dtype(x.dtype).itemsize for x in jax.tree.leaves(state))


def _spared(state: State, n: int) -> State:
    return jax.tree.map(
        lambda x: x.spared(n) if isinstance(x, RoomyState) else x,
        state,
        is_leaf=lambda x: isinstance(x, RoomyState),
    )
