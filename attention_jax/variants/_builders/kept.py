"""What a step of decoding keeps of each position: arrays [b s ...], written one place a step."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Int

from attention_jax.core import checks


def empty(
    batch: int, length: int, *, kv_heads: int, head_width: int, value_width: int, dtype: DTypeLike
) -> tuple[Array, Array, Int[Array, " b"]]:
    """Keys and values before the first position, and its number."""
    shape = batch, length, kv_heads
    keys, values = (jnp.zeros((*shape, width), dtype) for width in (head_width, value_width))
    return keys, values, jnp.zeros(batch, jnp.int32)


def put(
    arrays: Sequence[Array], new: Sequence[Array], at: Int[Array, " b"]
) -> tuple[list[Array], Bool[Array, "b 1 1"]]:
    """The arrays with a position more, and whether there was room for it.

    Raises:
      ValueError: there is known to be none.
    """
    room = checks.within(at, arrays[0].shape[1])[:, None, None]
    rows = jnp.arange(len(at))
    pairs = zip(arrays, new, strict=True)
    return [x.at[rows, at].set(y.astype(x.dtype)) for x, y in pairs], room
