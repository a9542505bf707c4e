"""Mixture of block attention (MoBA): a query reads its own block, and the blocks it matches best.

    gate[i, n] = q_i . mean of k_j over block n                 for blocks before that of i
    chosen(i) = the block of i, and the `blocks` - 1 of the highest gate
    out_i = softmax over j <= i in chosen(i) of (q_i . k_j / sqrt(d)), times v_j

The choice has no parameters and no gradient, and each head chooses by itself. What is not chosen is
not computed: time grows with the length, not with its square, but for the gates. Blocks are counted
from the first key of a call. A hidden key has no part in means.

Reference: Lu et al. 2025, arXiv:2502.13189, section 2.2, equations 2 to 7.
Cost: t `blocks` `size` (d + e) + t s d / `size` products a head.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, Variant, no_parameters
from attention_jax.variants._builders import block_choice

ALIASES = ("mixture_of_block_attention",)


def moba(*, size: int = 64, blocks: int = 4) -> Variant:
    """The scaled dot product over the best blocks.

    Args:
      size: keys in a block; the paper has 512.
      blocks: that a query reads, its own among them; the paper has 3.
    """
    checks.positive("size", size)
    checks.positive("blocks", blocks)

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        shown = block_choice.check("moba", q, k, v, options)
        means = _means(k.astype(wide_dtype(q, k)), shown, size)

        def choose(q: Array, at: Array) -> Array:
            return block_choice.best(_gates(q, at // size, *means), blocks)

        at = block_choice.places(q.shape[1], options)
        chosen = block_choice.in_turns(choose, q, at)
        return block_choice.attend(q, k, v, chosen, size, options)

    return Variant(no_parameters, attend, roles=("causal",), mask_kind="keywise")


def _means(
    k: Float[Array, "b s g d"], shown: Bool[Array, "b s"], size: int
) -> tuple[Float[Array, "b n g d"], Bool[Array, "b n"]]:
    """The mean key of each block, and whether it has any."""
    shown = shown & jnp.isfinite(k).all((2, 3))
    keys = jnp.where(shown[..., None, None], k, 0)
    sums = block_choice.in_blocks(keys, size).sum(2)
    count = block_choice.in_blocks(shown.astype(k.dtype), size).sum(2)
    return sums / jnp.maximum(count, 1)[..., None, None], count > 0


def _gates(
    q: Float[Array, "b t h d"],
    own: Int[Array, " t"],
    means: Float[Array, "b n g d"],
    shown: Bool[Array, "b n"],
) -> Float[Array, "b t h n"]:
    """The products of queries with means; the own block is the best, those after it none."""
    b, t, h, d = q.shape
    _, n, g, _ = means.shape
    finite = jnp.where(jnp.isfinite(q), q, 0).astype(means.dtype).reshape(b, t, g, -1, d)
    gates = jnp.einsum("btgrd,bngd->btgrn", finite, means).reshape(b, t, h, n)
    block, own = jnp.arange(n)[None, None, None], own[None, :, None, None]
    gates = jnp.where((block < own) & shown[:, None, None], gates, -jnp.inf)
    return jnp.where(block == own, jnp.inf, gates)
