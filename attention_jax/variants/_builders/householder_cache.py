"""Decoding of `householder`: keys that each step moves by its own map, all at once."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from attention_jax.core import normalizers
from attention_jax.core.numerics import wide_dtype
from attention_jax.variants._builders import householder, kept


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


def extend(
    cache: Cache, *arrays: Array, chunk: int = householder.CHUNK
) -> tuple[Cache, Float[Array, "b t h e"]]:
    """The next positions, of q, k, v, w and strength as of `householder.mixed`, by chunks.

    A chunk moves the keys before it by one matrix.

    Raises:
      ValueError: there is known to be no room for them.
    """
    t, each = arrays[0].shape[1], []
    whole = t - t % chunk
    if whole:
        parts = (x[:, :whole].reshape(x.shape[0], -1, chunk, *x.shape[2:]) for x in arrays)
        cache, out = jax.lax.scan(_taken_in, cache, tuple(x.swapaxes(0, 1) for x in parts))
        each.append(out.swapaxes(0, 1).reshape(out.shape[1], whole, *out.shape[3:]))
    if t > whole:
        cache, out = _taken_in(cache, tuple(x[:, whole:] for x in arrays))
        each.append(out)
    return cache, jnp.concatenate(each, axis=1)


def _taken_in(cache: Cache, arrays: tuple[Array, ...]) -> tuple[Cache, Float[Array, "b n h e"]]:
    """One chunk."""
    q, k, v, w, strength = arrays
    dtype, at, length = cache.keys.dtype, cache.position, cache.keys.shape[1]
    (b, n, h, _), g = q.shape, k.shape[2]
    own = (x.astype(dtype) for x in (q, k, w, strength))
    found = jax.tree.map(lambda x: x[0], householder.pairs(*own, n))
    logits = jnp.concatenate([jnp.einsum("bgmd,bsgd->bgms", found.q, cache.keys), found.own], -1)
    before = jnp.broadcast_to((jnp.arange(length)[None] < at[:, None])[:, None], (b, n, length))
    until = jnp.broadcast_to(jnp.tril(jnp.ones((n, n), bool))[None], (b, n, n))
    seen = jnp.tile(jnp.concatenate([before, until], -1), (1, h // g, 1))
    weights = normalizers.softmax.weights(logits, seen[:, None])
    out = jnp.einsum("bgms,bsge->bgme", weights[..., :length], cache.values.astype(dtype))
    out = out + jnp.einsum("bgmn,bnge->bgme", weights[..., length:], v.astype(dtype))
    out = out.reshape(b, h, n, -1).swapaxes(1, 2)
    moved = jnp.einsum("bgij,bsgj->bsgi", found.moves, cache.keys)
    (keys, values), room = kept.put([moved, cache.values], [found.k.swapaxes(1, 2), v], at)
    return Cache(keys, values, at + n), jnp.where(room, out, jnp.nan)
