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
e) / `stride` for summaries; a state of g (d + e) numbers a position, and as many a `stride`.
"""

import functools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Params, Variant
from attention_jax.variants._builders import block_choice, inputs, kept, native_branches, summaries
from attention_jax.variants._builders.native_branches import Sizes
from attention_jax.variants._builders.options import refuse, refuse_hidden

ALIASES = ("nsa",)


class Cache(NamedTuple):
    """Keys, values and their summaries so far, and the position of the next."""

    k: Float[Array, "b s g d"]
    v: Float[Array, "b s g e"]
    summary_k: Float[Array, "b n g d"]
    summary_v: Float[Array, "b n g e"]
    position: Int[Array, " b"]


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
    sizes = Sizes(summary, stride, size, blocks, window)
    for name, value in sizes._asdict().items():
        checks.positive(name, value)
    for name in ("summary", "size"):
        checks.divides("stride", stride, name, getattr(sizes, name))
    extend = partial(_extend, sizes)
    return Variant(
        partial(_init, summary),
        partial(_attend, sizes),
        partial(_start, sizes),
        kept.step_of(extend),
        roles=("causal",),
        mask_kind="keywise",
        features=lambda params, x: inputs.mapped(params["gates"], x.astype(wide_dtype(x))),
        extend=extend,
    )


def _init(
    summary: int, key: PRNGKeyArray, *, width: int, heads: int, kv_heads: int, head_width: int
) -> Params:
    del kv_heads
    key_maps, key_gates = jax.random.split(key)
    gates = inputs.linear(key_gates, width, heads, 3)
    return summaries.maps(key_maps, summary, head_width) | {"gates": gates}


def _attend(
    sizes: Sizes,
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
    dtype = wide_dtype(q, k, v)
    wide = tuple(x.astype(dtype) for x in (q, k, v))
    made = summaries.of_keys(sizes.summary, sizes.stride, params, *wide[1:], shown)
    parts = native_branches.of_pass(sizes, made, *wide, options)
    return _joined(features, parts).astype(q.dtype)


def _joined(features: Array, parts: tuple[Array, ...]) -> Float[Array, "b t h e"]:
    """The branches, each times its gate."""
    gates = jax.nn.sigmoid(features.astype(parts[0].dtype))
    return functools.reduce(jnp.add, (gates[..., n, None] * x for n, x in enumerate(parts)))


def _start(
    sizes: Sizes,
    params: Params,
    batch: int,
    length: int,
    *,
    heads: int,
    dtype: DTypeLike,
    **widths: int,
) -> Cache:
    del params, heads
    summaries.check_width(widths["value_width"], widths["head_width"])
    k, v, at = kept.empty(batch, length, dtype=dtype, **widths)
    count = summaries.count_of(sizes.summary, sizes.stride, length)
    # Made once of rounded keys, they are not rounded again.
    of = (jnp.zeros((batch, count, *x.shape[2:]), wide_dtype(x)) for x in (k, v))
    return Cache(k, v, *of, at)


def _extend(
    sizes: Sizes,
    params: Params,
    state: Cache,
    q: Array,
    k: Array,
    v: Array,
    visible: Array | None = None,
    *,
    features: Float[Array, "b t h 3"],
) -> tuple[Cache, Float[Array, "b t h e"]]:
    refuse_hidden("native_sparse", visible)
    first, t, dtype = state.position, q.shape[1], state.summary_k.dtype
    arrays, room = kept.put(state[:2], (k, v), first)
    made = summaries.renewed(sizes.summary, sizes.stride, params, arrays, state[2:4], first, t)
    wide = tuple(x.astype(dtype) for x in (q, *arrays))
    out = _joined(features, native_branches.of_cache(sizes, made, *wide, first))
    return Cache(*arrays, made.k, made.v, first + t), jnp.where(room, out.astype(q.dtype), jnp.nan)
