"""Native sparse attention (NSA): summaries of all blocks, a few blocks in full, and what is near.

    summaries    K_n = compressed keys of `summary` positions from n `stride` on, V_n likewise
                 p_n = softmax of q_i . K_n / sqrt(d) over summaries that end before i or at i
    chosen       the first block, that of i and the one before it, and the best others by the sum of
                 p over the summaries that overlap them, over all queries of a key head
    out_i = g_1 summaries + g_2 chosen blocks + g_3 window         g = sigmoid(W x_i), a head

A summary is W_2 gelu(sum_l W_1l (k_l + place_l)), of maps that all heads share; values have others.
Of the summaries that reach into a block each counts by its share of positions in it. The paper has
keys and values for each of the three branches; here all three read the layer's. Positions are
counted from the first key of a call. A hidden key adds nothing to summaries.

Reference: Yuan et al. 2025, arXiv:2502.11089, section 3.3, equations 5 to 12.
Cost: t (`blocks` `size` + `window` + s / `stride`) (d + e) products a head, and `summary` s d (d +
e) / `stride` for summaries.
"""

import functools
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from attention_jax.core import checks, masks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Params, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders import block_choice, inputs, summaries
from attention_jax.variants._builders.options import refuse
from attention_jax.variants._builders.summaries import Summaries

ALIASES = ("nsa",)


class _Sizes(NamedTuple):
    summary: int
    stride: int
    size: int
    blocks: int
    window: int


def native_sparse(
    *, summary: int = 8, stride: int = 4, size: int = 16, blocks: int = 4, window: int = 64
) -> Variant:
    """Three branches, joined by gates of the layer's input.

    The paper has summaries of 32 positions at strides of 16, 16 blocks of 64, and a window of 512.

    Args:
      summary: positions that are compressed into one; a multiple of `stride`.
      stride: positions from the start of one summary to that of the next.
      size: positions in a block that is read in full; a multiple of `stride`.
      blocks: that a query reads in full.
      window: positions that it reads at any rate, its own among them.
    """
    sizes = _Sizes(summary, stride, size, blocks, window)
    for name, value in sizes._asdict().items():
        checks.positive(name, value)
    for name in ("summary", "size"):
        checks.divides("stride", stride, name, getattr(sizes, name))
    return Variant(
        partial(_init, summary),
        partial(_attend, sizes),
        roles=("causal",),
        mask_kind="keywise",
        features=lambda params, x: inputs.mapped(params["gates"], x.astype(wide_dtype(x))),
    )


def _init(
    summary: int, key: PRNGKeyArray, *, width: int, heads: int, kv_heads: int, head_width: int
) -> Params:
    del kv_heads
    key_maps, key_gates = jax.random.split(key)
    gates = inputs.linear(key_gates, width, heads, 3)
    return summaries.maps(key_maps, summary, head_width) | {"gates": gates}


def _attend(
    sizes: _Sizes,
    params: Params,
    q: Array,
    k: Array,
    v: Array,
    options: Options = Options(),
    *,
    features: Float[Array, "b t h 3"],
) -> Float[Array, "b t h e"]:
    refuse("native_sparse", options, "return_lse")
    shown = block_choice.check("native_sparse", q, k, v, options)
    dtype, narrow = wide_dtype(q, k, v), q.dtype
    gates = jax.nn.sigmoid(features.astype(dtype))
    q, k, v = (x.astype(dtype) for x in (q, k, v))
    made = summaries.of_keys(sizes.summary, sizes.stride, params, k, v, shown)
    choose = partial(_choose, sizes, k.shape[1], made)
    chosen = block_choice.in_turns(choose, q, block_choice.places(q.shape[1], options))
    near = options._replace(mask=masks.both(options.mask, masks.sliding_window(sizes.window)))
    parts: tuple[Any, ...] = (
        _over_summaries(sizes, q, made, options),
        block_choice.attend(q, k, v, chosen, sizes.size, options),
        attention(q, k, v, **near._asdict()),
    )
    out = (gates[..., n, None] * part for n, part in enumerate(parts))
    return functools.reduce(jnp.add, out).astype(narrow)


def _over_summaries(
    sizes: _Sizes, q: Array, made: Summaries, options: Options
) -> Float[Array, "b t h e"]:
    ends = masks.Mask(
        lambda b, h, i, j: (j * sizes.stride + sizes.summary <= i + 1) & made.shown[b, j]
    )
    key = options.dropout_key
    return attention(
        q,
        made.k,
        made.v,
        mask=ends,
        query_offset=options.query_offset - options.key_offset,
        dropout_rate=options.dropout_rate,
        dropout_key=None if key is None else jax.random.fold_in(key, 1),
    )


def _choose(
    sizes: _Sizes, keys: int, made: Summaries, q: Array, at: Int[Array, " t"]
) -> Int[Array, "b t g m"]:
    """The blocks of each query; those of a key head choose together."""
    (b, t, _, d), (_, n, g, _) = q.shape, made.k.shape
    logits = jnp.einsum("btgrd,bngd->btgrn", q.reshape(b, t, g, -1, d) * d**-0.5, made.k)
    ends = jnp.arange(n) * sizes.stride + sizes.summary - 1
    seen = (ends[None, None] <= at[None, :, None]) & made.shown[:, None]
    weights = jax.nn.softmax(logits, where=seen[:, :, None, None])
    shares = jnp.nan_to_num(weights).sum(3)
    count, each = -(-keys // sizes.size), sizes.size // sizes.stride
    strides = summaries.by_stride(shares, sizes.summary // sizes.stride, count * each)
    scores = strides.reshape(b, t, g, count, each).sum(-1)
    block, own = jnp.arange(count)[None, None, None], (at // sizes.size)[None, :, None, None]
    for place, bonus in ((block == 0, 1e6), (block == own - 1, 2e6), (block == own, 3e6)):
        scores = jnp.where(place, bonus, scores)
    return block_choice.best(jnp.where(block <= own, scores, -jnp.inf), sizes.blocks)
