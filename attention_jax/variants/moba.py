"""Mixture of block attention (MoBA): a query reads its own block, and the blocks it matches best.

    gate[i, n] = q_i . mean of k_j over block n                 for blocks before that of i
    chosen(i) = the block of i, and the `blocks` - 1 of the highest gate
    out_i = softmax over j <= i in chosen(i) of (q_i . k_j / sqrt(d)), times v_j

The choice has no parameters and no gradient, and each head chooses by itself. What is not chosen is
not computed: time grows with the length, not with its square, but for the gates. Blocks are counted
from the first key of a call. A hidden key has no part in means.

Reference: Lu et al. 2025, arXiv:2502.13189, section 2.2, equations 2 to 7.
Cost: t `blocks` `size` (d + e) + t s d / `size` products a head; a state of g (d + e) numbers a
position, and g d + 1 a block.
"""

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, Variant, no_parameters
from attention_jax.variants._builders import block_choice, block_means, kept
from attention_jax.variants._builders.block_means import Means
from attention_jax.variants._builders.options import refuse_hidden

ALIASES = ("mixture_of_block_attention",)


class Cache(NamedTuple):
    """Keys, values and means of blocks so far, and the position of the next."""

    k: Float[Array, "b s g d"]
    v: Float[Array, "b s g e"]
    means: Means
    position: Int[Array, " b"]


def moba(*, size: int = 64, blocks: int = 4) -> Variant:
    """The scaled dot product over the best blocks.

    Args:
      size: keys in a block; the paper has 512.
      blocks: that a query reads, its own among them; the paper has 3.
    """
    checks.positive("size", size)
    checks.positive("blocks", blocks)

    extend = partial(_extend, size, blocks)
    return Variant(
        no_parameters,
        partial(_attend, size, blocks),
        partial(_start, size),
        kept.step_of(extend),
        roles=("causal",),
        mask_kind="keywise",
        extend=extend,
    )


def _attend(
    size: int,
    blocks: int,
    params: Params,
    q: Array,
    k: Array,
    v: Array,
    options: Options = Options(),
) -> Output:
    del params
    shown = block_choice.check("moba", q, k, v, options)
    means = block_means.of_keys(size, k.astype(wide_dtype(q, k)), shown)
    chosen = _chosen(size, blocks, q, block_choice.places(q.shape[1], options), means)
    return block_choice.attend(q, k, v, chosen, size, options)


def _chosen(
    size: int, blocks: int, q: Array, at: Int[Array, "#b t"], means: Means
) -> Int[Array, "b t h n"]:
    """The blocks of queries at these positions."""

    def choose(q: Array, at: Array) -> Array:
        return block_choice.best(_gates(q, at // size, means), blocks)

    return block_choice.in_turns(choose, q, at)


def _start(
    size: int,
    params: Params,
    batch: int,
    length: int,
    *,
    heads: int,
    dtype: DTypeLike,
    **sizes: int,
) -> Cache:
    del params, heads
    k, v, at = kept.empty(batch, length, dtype=dtype, **sizes)
    return Cache(k, v, block_means.empty(size, k), at)


def _extend(
    size: int,
    blocks: int,
    params: Params,
    state: Cache,
    q: Array,
    k: Array,
    v: Array,
    visible: Array | None = None,
) -> tuple[Cache, Float[Array, "b t h e"]]:
    del params
    refuse_hidden("moba", visible)
    first, (_, t, _, _) = state.position, q.shape
    arrays, room = kept.put(state[:2], (k, v), first)
    at = block_choice.places_from(first, t)
    means = state.means.more(size, k, at)
    chosen = _chosen(size, blocks, q, at, means)
    options = Options(kept.up_to(first))
    out: Any = block_choice.attend(q, *arrays, chosen, size, options)
    return Cache(*arrays, means, first + t), jnp.where(room, out, jnp.nan)


def _gates(
    q: Float[Array, "b t h d"],
    own: Int[Array, "#b t"],
    means: Means,
) -> Float[Array, "b t h n"]:
    """The products of queries with means; the own block is the best, those after it none."""
    (b, t, h, d), (_, n, g, _) = q.shape, means.sums.shape
    finite = jnp.where(jnp.isfinite(q), q, 0).astype(means.sums.dtype).reshape(b, t, g, -1, d)
    gates = jnp.einsum("btgrd,bngd->btgrn", finite, means.keys).reshape(b, t, h, n)
    block, own = jnp.arange(n)[None, None, None], own[..., None, None]
    gates = jnp.where((block < own) & (means.counts > 0)[:, None, None], gates, -jnp.inf)
    return jnp.where(block == own, jnp.inf, gates)
