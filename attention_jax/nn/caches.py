"""Caches of decoding: keys and values with their heads first, so that no step moves them.

In a search with beams each beam writes where it stands, and goes on from another: a table of
ancestors says which beam holds a position, so that the keys and values themselves stay.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import State


class KeyValueCache(NamedTuple):
    """Keys and values of the positions of a sequence."""

    keys: Float[Array, "b g n d"]
    values: Float[Array, "b g n e"]

    @property
    def sequences(self) -> tuple[Float[Array, "b n g d"], Float[Array, "b n g e"]]:
        """Both as `attention` takes them."""
        return self.keys.swapaxes(1, 2), self.values.swapaxes(1, 2)


class DotCache(KeyValueCache):
    """A cache that dot products read, for which the order of the keys means nothing."""


def of_sequences(
    keys: Float[Array, "b n g d"], values: Float[Array, "b n g e"]
) -> tuple[Float[Array, "b g n d"], Float[Array, "b g n e"]]:
    """Keys and values as a cache holds them."""
    return keys.swapaxes(1, 2), values.swapaxes(1, 2)


def put(
    cache: KeyValueCache,
    keys: Float[Array, "b t g d"],
    values: Float[Array, "b t g e"],
    position: Int[Array, ""],
) -> KeyValueCache:
    """The cache with more positions, from one on."""
    new = of_sequences(keys, values)
    made = (
        lax.dynamic_update_slice_in_dim(old, x.astype(old.dtype), position, axis=2)
        for old, x in zip(cache, new, strict=True)
    )
    # Without it XLA writes once for the next step and once for this one's product, into copies.
    return type(cache)(*lax.optimization_barrier(tuple(made)))


def resized(x: Array, n: int) -> Array:
    """An array [_ _ n _] or [_ _ n] with so many positions: the first ones, or empty ones more."""
    if n <= x.shape[2]:
        return x[:, :, :n]
    return jnp.pad(x, [(0, n - x.shape[2]) if axis == 2 else (0, 0) for axis in range(x.ndim)])


def spared(caches: list[State], room: Bool[Array, "b n 0"], spare: int) -> list[State]:
    """The caches of keys and values among these, without the last `spare` positions of a room."""
    n = room.shape[1] - spare
    return [
        type(x)(*(resized(y, n) for y in x)) if isinstance(x, KeyValueCache) else x for x in caches
    ]


def held_by_beams(cache: KeyValueCache, k: int, position: Int[Array, " r"]) -> Bool[Array, "r k n"]:
    """`ancestors` at the start of a search, where each beam holds all positions that were read."""
    r, n = len(position), cache.keys.shape[2]
    read = jnp.arange(n)[None] < position[:, None]
    return _own(r, k) & read[:, None]


def _own(r: int, k: int) -> Bool[Array, "r k 1"]:
    """Which beam of its sentence each row is."""
    return (jnp.arange(r)[:, None] % k == jnp.arange(k)[None])[:, :, None]


def ancestors(held: Bool[Array, "r k n"], position: Int[Array, ""]) -> Bool[Array, "r k n"]:
    """Which beam of its sentence holds each position of a row, once each wrote its own."""
    r, k, n = held.shape
    return held | (_own(r, k) & (jnp.arange(n) == position)[None, None])


def attend(
    q: Float[Array, "r 1 h d"],
    cache: KeyValueCache,
    visible: Bool[Array, "#b n"] | Bool[Array, "r k n"],
    *,
    scale: float,
) -> Float[Array, "r 1 h e"]:
    """Softmax attention of one query a row, by dot products.

        weights = softmax over visible keys of scale q . k;  out = weights @ values

    The rows of a sentence lie together: all of them see the keys of one row of the cache, or, by
    `ancestors`, those of all its k beams.
    """
    (b, g, n, d), (r, _, h, _) = cache.keys.shape, q.shape
    beams = visible.shape[1] if visible.ndim == 3 else 1
    b, rows = b // beams, r // (b // beams)
    dtype = wide_dtype(q, *cache)
    keys, values = (x.astype(dtype).reshape(b, beams, g, n, -1) for x in cache)
    # [b beams g rows*(h/g) d]: each beam of the cache is multiplied with all queries.
    own = (q.astype(dtype) * scale).reshape(b, 1, rows, g, h // g, d).swapaxes(2, 3)
    own = jnp.broadcast_to(own.reshape(b, 1, g, -1, d), (b, beams, g, rows * (h // g), d))
    logits = jnp.einsum("bkgmd,bkgnd->bkgmn", own, keys)
    if visible.ndim == 3:
        seen = visible.reshape(b, rows, 1, beams, n).transpose(0, 3, 2, 1, 4)
        seen = jnp.repeat(seen, h // g, axis=3)
    else:
        seen = visible[:, None, None, None]
    logits = jnp.where(seen, logits, -jnp.inf)
    high = jnp.maximum(logits.max((1, 4), keepdims=True), jnp.finfo(dtype).min)
    powers = jnp.exp(logits - high)
    out = jnp.einsum("bkgmn,bkgne->bkgme", powers, values).sum(1)
    total = powers.sum((1, 4))[..., None]
    out = out / jnp.where(total == 0, 1, total)
    out = out.reshape(b, g, rows, h // g, -1).swapaxes(1, 2)
    return out.reshape(r, 1, h, -1).astype(q.dtype)
