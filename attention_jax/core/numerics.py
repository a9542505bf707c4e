"""Shared numerics: the dtype of accumulation, and dropout from a counter."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry2x32_p
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from attention_jax.core.types import Like

Offset = int | Int[Array, ""]


def wide_dtype(*arrays: Like) -> np.dtype:
    """The dtype of accumulation: float32, or float64 where an array has it and JAX takes it."""
    wide = jnp.float64 if jnp.float64 in [x.dtype for x in arrays] else jnp.float32
    return jax.dtypes.canonicalize_dtype(wide)


def kept_pairs(key: PRNGKeyArray, rate: float, at: tuple[Array, ...]) -> Bool[Array, "..."]:
    """The weights that dropout keeps: a hash of key, b, h and the global positions.

    It depends on no shape, block or offset: all implementations agree on a pair.

    Args:
      at: b, h, i and j, in shapes that broadcast.
    """
    seed = jax.random.bits(key, (2,), jnp.uint32)  # 64 bits, in 64-bit mode, are others
    b, h, i, j = (x.astype(jnp.uint32) for x in at)
    seed = _hash(seed[0], seed[1], *jnp.broadcast_arrays(b, h))
    bits, _ = _hash(*seed, *jnp.broadcast_arrays(i, j))
    return bits >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))


def dropped(
    weights: Float[Array, "..."], key: PRNGKeyArray, rate: float, at: tuple[Array, ...]
) -> Float[Array, "..."]:
    """The weights after dropout: 0 where one is not kept, 1 / (1 - rate) times as large elsewhere.

    Args:
      at: as of `kept_pairs`.
    """
    return jnp.where(kept_pairs(key, rate, at), weights / (1 - rate), 0)


def _hash(x: Array, y: Array, first: Array, second: Array) -> tuple[Array, Array]:
    shape = jnp.broadcast_shapes(x.shape, first.shape)
    words = [jnp.broadcast_to(word, shape) for word in (x, y, first, second)]
    # Under `vmap` the primitive wants its axis in all words, or in none: each gets a 0 of all.
    nothing = sum((word & jnp.uint32(0) for word in words[1:]), words[0] & jnp.uint32(0))
    words = [word | nothing for word in words]
    return tuple(threefry2x32_p.bind(*words))
