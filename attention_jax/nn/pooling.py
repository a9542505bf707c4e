"""Attention pooling: one learned query over all positions."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attention_jax.core import masks, plain_types
from attention_jax.core.calls import clear_calls
from attention_jax.core.types import Variant
from attention_jax.nn.attention import MultiHeadAttention
from attention_jax.nn.layers import check_rngs
from attention_jax.nn.patches import SPREAD


class AttentionPooling(nnx.Module):
    """The mean of the states by their weights under one learned query.

        out = W_o concat_h attend(W_q query, W_k states, W_v states)

    Reference: Lee et al. 2019, arXiv:1810.00825, section 3.2.
    """

    @clear_calls
    def __init__(
        self, width: int, *, heads: int, variant: Variant | str, dtype: str, rngs: nnx.Rngs
    ):
        plain_types.sizes(width=width)
        check_rngs(rngs)
        self.query = nnx.Param(SPREAD * rngs.params.normal((width,)))
        self.attention = MultiHeadAttention(
            width, heads=heads, variant=variant, dtype=plain_types.float_dtype(dtype), rngs=rngs
        )

    def __call__(
        self, states: Float[Array, "b s m"], *, first: int = 0, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b m"]:
        """The mean of the states from the one numbered `first` on."""
        b, s, m = states.shape
        seen = jnp.broadcast_to((jnp.arange(s) >= first)[None], (b, s)) if first else None
        query = jnp.broadcast_to(self.query[...].astype(states.dtype)[None, None], (b, 1, m))
        mask = None if seen is None else masks.keys(seen)
        return self.attention(query, states, mask=mask, rngs=rngs)[:, 0]
