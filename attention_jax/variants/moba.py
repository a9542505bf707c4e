"""Mixture of block attention (MoBA): a query reads its own block, and the blocks it matches best.

    gate[i, n] = q_i . mean of k_j over block n                 for blocks before that of i
    chosen(i) = the block of i, and the `blocks` - 1 of the highest gate
    out_i = softmax over j <= i in chosen(i) of (q_i . k_j / sqrt(d)), times v_j

The choice has no parameters and no gradient, and each head chooses by itself. What is not chosen is
not computed: time grows with the length, not with its square, but for the gates. Blocks are counted
from the first key of a call. A key that the mask hides from all queries alike has no part in means.

Reference: Lu et al. 2025, arXiv:2502.13189, section 2.2, equations 2 to 7.
Cost: t `blocks` `size` (d + e) + t s d / `size` products a head.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

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
        block_choice.check("moba", q, k, v, options)
        gates = _gates(q, k, size, options)
        own = (block_choice.places(q.shape[1], options) // size)[None, :, None, None]
        block = jnp.arange(gates.shape[-1])[None, None, None]
        # Its own block is the best of all.
        gates = jnp.where(block == own, jnp.inf, jnp.where(block < own, gates, -jnp.inf))
        chosen = block_choice.best(gates, blocks)
        return block_choice.attend(q, k, v, chosen, size, options)

    return Variant(init=no_parameters, attend=attend, roles=("causal",))


def _gates(q: Array, k: Array, size: int, options: Options) -> Float[Array, "b t h n"]:
    """The product of each query with the mean of each block; -inf where nothing of it is shown."""
    dtype = wide_dtype(q, k)
    seen = block_choice.shown(k, options)
    keys = jnp.where(seen[..., None, None], k.astype(dtype), 0)
    sums = block_choice.in_blocks(keys, size).sum(2)
    count = block_choice.in_blocks(seen.astype(dtype), size).sum(2)
    means = sums / jnp.maximum(count, 1)[..., None, None]
    b, t, h, d = q.shape
    own = jnp.where(jnp.isfinite(q), q, 0).astype(dtype).reshape(b, t, k.shape[2], -1, d)
    gates = jnp.einsum("btgrd,bngd->btgrn", own, means)
    return jnp.where((count > 0)[:, None, None], gates.reshape(b, t, h, -1), -jnp.inf)
