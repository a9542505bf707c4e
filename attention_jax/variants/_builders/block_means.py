"""Means of the keys of blocks, of a pass and of decoding."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core.numerics import wide_dtype
from attention_jax.variants._builders import block_choice


class Means(NamedTuple):
    """Sums of the keys of blocks that are seen and finite, and how many these are."""

    sums: Float[Array, "b n g d"]
    counts: Int[Array, "b n"]

    @property
    def keys(self) -> Float[Array, "b n g d"]:
        """The mean key of each block; 0 where there is none."""
        counts = jnp.maximum(self.counts, 1).astype(self.sums.dtype)
        return self.sums / counts[..., None, None]

    def more(self, size: int, k: Float[Array, "b t g d"], at: Int[Array, "b t"]) -> "Means":
        """With the keys of more positions; those beyond the last block are left out."""
        fine = jnp.isfinite(k).all((2, 3))
        keys = jnp.where(fine[..., None, None], k.astype(self.sums.dtype), 0)
        put = jax.vmap(lambda x, at, y: x.at[at].add(y, mode="drop"))
        block = at // size
        return Means(put(self.sums, block, keys), put(self.counts, block, fine.astype(jnp.int32)))


def of_keys(size: int, k: Float[Array, "b s g d"], shown: Bool[Array, "b s"]) -> Means:
    """Those of a whole pass."""
    shown = shown & jnp.isfinite(k).all((2, 3))
    keys = jnp.where(shown[..., None, None], k, 0)
    counts = block_choice.in_blocks(shown.astype(jnp.int32), size).sum(2)
    return Means(block_choice.in_blocks(keys, size).sum(2), counts)


def empty(size: int, k: Float[Array, "b s g d"]) -> Means:
    """Those before the first position, for a cache of keys."""
    b, s, *heads = k.shape
    blocks = -(-s // size)
    sums = jnp.zeros((b, blocks, *heads), wide_dtype(k))
    return Means(sums, jnp.zeros((b, blocks), jnp.int32))
