"""Arrays [b s ...] that decoding keeps of each position, and to which positions are added."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PyTree

from attention_jax.core import checks, masks
from attention_jax.core.types import Params, State


def empty(
    batch: int, length: int, *, kv_heads: int, head_width: int, value_width: int, dtype: DTypeLike
) -> tuple[Array, Array, Int[Array, " b"]]:
    """Keys and values before the first position, and its number."""
    shape = batch, length, kv_heads
    keys, values = (jnp.zeros((*shape, width), dtype) for width in (head_width, value_width))
    return keys, values, jnp.zeros(batch, jnp.int32)


def put(
    arrays: Sequence[Array], new: Sequence[Array], first: Int[Array, " b"]
) -> tuple[list[Array], Bool[Array, "b t 1 1"]]:
    """The arrays with more positions, from `first` on, and whether there was room for each.

    Raises:
      ValueError: there is known to be none.
    """
    at = first[:, None] + jnp.arange(new[0].shape[1], dtype=jnp.int32)[None]
    room = checks.within(at, arrays[0].shape[1])[..., None, None]
    rows, pairs = jnp.arange(at.shape[0])[:, None], zip(arrays, new, strict=True)
    return [x.at[rows, at].set(y.astype(x.dtype)) for x, y in pairs], room


def up_to(first: Int[Array, " b"]) -> masks.Mask:
    """Query i of a sequence sees the keys up to the position `first` + i."""
    return masks.Mask(lambda b, h, i, j: j <= first[b] + i)


def step_of(extend: Callable[..., tuple[State, Array]]) -> Callable[..., tuple[State, Array]]:
    """The step of one position, by a function of several."""

    def step(
        params: Params, state: State, q: Array, k: Array, v: Array, features: PyTree = None
    ) -> tuple[Any, Float[Array, "b h e"]]:
        own = jax.tree.map(lambda x: x[:, None], features)
        more = {} if features is None else {"features": own}
        state, out = extend(params, state, q[:, None], k[:, None], v[:, None], **more)
        return state, out[:, 0]

    return step
