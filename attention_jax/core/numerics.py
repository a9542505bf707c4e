"""Shared numerics: the dtype of accumulation, and dropout from a counter."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from attention_jax.core.types import Like

Words = tuple[Array, Array]  # 64 bits
Offset = int | Int[Array, ""]


def wide_dtype(*arrays: Like) -> np.dtype:
    """The dtype of accumulation: float32, or float64 where an array has it and JAX takes it."""
    wide = jnp.float64 if jnp.float64 in [x.dtype for x in arrays] else jnp.float32
    return jax.dtypes.canonicalize_dtype(wide)


def kept_entries(key: PRNGKeyArray, rate: float, shape: tuple[int, ...]) -> Bool[Array, "..."]:
    """The entries of an array that dropout keeps: a hash of key, row and column.

    The rows are those of all axes but the last.
    """
    *rows, columns = shape or (1,)
    row = jnp.arange(math.prod(rows), dtype=jnp.uint32)[:, None]
    column = jnp.arange(columns, dtype=jnp.uint32)[None]
    return _kept(_mixed(column, _next(_seed(key), row)), rate).reshape(shape)


def kept_pairs(key: PRNGKeyArray, rate: float, at: tuple[Array, ...]) -> Bool[Array, "..."]:
    """The weights that dropout keeps: a hash of key, b, h and the global positions.

    It depends on no shape, block or offset: all implementations agree on a pair.

    Args:
      at: b, h, i and j, in shapes that broadcast.
    """
    seed, rank = _seed(key), max(jnp.ndim(x) for x in at)
    *rows, column = (jnp.asarray(x, jnp.uint32) for x in at)
    for row in rows:
        seed = _next(seed, _of_rank(row, rank))
    return _kept(_mixed(_of_rank(column, rank), seed), rate)


def dropped(
    weights: Float[Array, "..."], key: PRNGKeyArray, rate: float, at: tuple[Array, ...]
) -> Float[Array, "..."]:
    """The weights after dropout: 0 where one is not kept, 1 / (1 - rate) times as large elsewhere.

    Args:
      at: as of `kept_pairs`.
    """
    return jnp.where(kept_pairs(key, rate, at), weights / (1 - rate), 0)


def _seed(key: PRNGKeyArray) -> Words:
    first, second = jax.random.bits(key, (2,), jnp.uint32)  # 64 bits, in 64-bit mode, are others
    return first, second


def _of_rank(x: Array, rank: int) -> Array:
    return x.reshape((1,) * (rank - x.ndim) + x.shape)


def _next(seed: Words, place: Array) -> Words:
    """The seed of a place, under that of the places around it."""
    first = _mixed(place, seed)
    return first, _mixed(first, seed[::-1])


def _mixed(x: Array, seed: Words) -> Array:
    """32 bits of a number under a seed, each changed by about half of all others.

    The hash is a bijection of 32 bits, with one word of the seed before and one between its
    multiplications. It takes a tenth of the time of Threefry, and fuses with what it decides on.

    Reference: Wellons, `triple32` of https://github.com/skeeto/hash-prospector (public domain).
    """
    x = x ^ seed[0]
    x = (x ^ (x >> 17)) * np.uint32(0xED5AD4BB)
    x = ((x ^ (x >> 11)) + seed[1]) * np.uint32(0xAC4C1B51)
    x = (x ^ (x >> 15)) * np.uint32(0x31848BAB)
    return x ^ (x >> 14)


def _kept(bits: Array, rate: float) -> Bool[Array, "..."]:
    return bits >= np.uint32(min(round(rate * 2**32), 2**32 - 1))
