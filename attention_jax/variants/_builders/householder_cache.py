"""Decoding of `householder`: keys that each step moves by its own map, all at once."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from attention_jax.core import normalizers
from attention_jax.core.numerics import wide_dtype
from attention_jax.variants._builders import kept


class Cache(NamedTuple):
    """The positions so far.

    Attributes:
      keys: moved up to now.
      values: as they were given.
      position: of the next query.
    """

    keys: Float[Array, "b s g d"]
    values: Float[Array, "b s g e"]
    position: Int[Array, " b"]


def empty(batch: int, length: int, *, dtype: DTypeLike, **sizes: int) -> Cache:
    """The cache before the first position."""
    keys, values, position = kept.empty(batch, length, dtype=dtype, **sizes)
    # Moved at every step, keys would lose what a narrow dtype rounds away each time.
    return Cache(keys.astype(wide_dtype(keys)), values, position)


def step(
    cache: Cache,
    q: Float[Array, "b h d"],
    k: Float[Array, "b g d"],
    v: Float[Array, "b g e"],
    w: Float[Array, "b g d"],
    strength: Float[Array, "b g"],
) -> tuple[Cache, Float[Array, "b h e"]]:
    """The next position, as `householder.mixed` has it; NaN where there is no room for it."""
    dtype, at, length = cache.keys.dtype, cache.position, cache.keys.shape[1]
    along = jnp.einsum("bsgd,bgd->bsg", cache.keys, w) * strength[:, None]
    moved = cache.keys - along[..., None] * w[:, None]
    (keys, values), room = kept.put([moved, cache.values], [k[:, None], v[:, None]], at)
    (b, h, d), g = q.shape, k.shape[1]
    logits = jnp.einsum("bgrd,bsgd->bgrs", q.astype(dtype).reshape(b, g, h // g, d), keys)
    seen = (jnp.arange(length)[None] <= at[:, None])[:, None, None]
    weights = normalizers.softmax.weights(logits, seen)
    out = jnp.einsum("bgrs,bsge->bgre", weights, values.astype(dtype)).reshape(b, h, -1)
    return Cache(keys, values, at + 1), jnp.where(room[:, 0], out, jnp.nan)
