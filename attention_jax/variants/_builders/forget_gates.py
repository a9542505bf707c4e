"""Attention whose scores are lowered by sums of logarithms of gates, between key and query.

score[i, j] = q_i . k_j / sqrt(d) + sums_i - sums_j        sums_i = sum_(l <= i) log f_l
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, ScoreMod
from attention_jax.engine.api import attention
from attention_jax.variants._builders import kept
from attention_jax.variants._builders.options import refuse_hidden


class Cache(NamedTuple):
    """Keys, values and sums of logarithms of gates so far, and the position of the next."""

    k: Float[Array, "b s g d"]
    v: Float[Array, "b s g e"]
    sums: Float[Array, "b s h"]
    position: Int[Array, " b"]


def attend(sums: Float[Array, "b h s"], q: Array, k: Array, v: Array, options: Options) -> Output:
    """Attention under the sums of each head, from the first key on."""
    lower = _lowered(sums, options.key_offset)
    return attention(q, k, v, score_mod=lower, **options._asdict())


def start(
    params: Params, batch: int, length: int, *, heads: int, dtype: DTypeLike, **sizes: int
) -> Cache:
    """`start` of a variant whose features are the logarithms of its gates."""
    del params
    k, v, at = kept.empty(batch, length, dtype=dtype, **sizes)
    wide = wide_dtype(jax.ShapeDtypeStruct((), dtype))
    return Cache(k, v, jnp.zeros((batch, length, heads), wide), at)


def extend(
    params: Params,
    state: Cache,
    q: Array,
    k: Array,
    v: Array,
    visible: Array | None = None,
    *,
    features: Float[Array, "b t h"],
) -> tuple[Cache, Float[Array, "b t h e"]]:
    """`extend` of such a variant."""
    del params
    refuse_hidden("forgetting", visible)
    first, rows = state.position, jnp.arange(q.shape[0])
    before = state.sums[rows, jnp.maximum(first - 1, 0)]
    before = jnp.where(first[:, None] > 0, before, 0)
    sums = before[:, None] + jnp.cumsum(features.astype(before.dtype), axis=1)
    arrays, room = kept.put(state[:3], (k, v, sums), first)
    sums = arrays[2].transpose(0, 2, 1)

    def lower(score: Array, b: Array, h: Array, i: Array, j: Array) -> Array:
        return score + (sums[b, h, first[b] + i] - sums[b, h, j]).astype(score.dtype)

    out: Any = attention(q, *arrays[:2], mask=kept.up_to(first), score_mod=lower)
    return Cache(*arrays, first + q.shape[1]), jnp.where(room, out, jnp.nan)


def _lowered(sums: Float[Array, "b h s"], key_offset: int | Array) -> ScoreMod:
    last = sums.shape[-1] - 1

    def lower(score: Array, b: Array, h: Array, i: Array, j: Array) -> Array:
        # Pairs before the first key are hidden, but still looked up.
        query, key = (jnp.clip(at - key_offset, 0, last) for at in (i, j))
        return score + (sums[b, h, query] - sums[b, h, key]).astype(score.dtype)

    return lower
