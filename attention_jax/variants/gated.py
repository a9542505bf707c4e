"""Gated attention: each head's output is multiplied by a sigmoid gate of its query.

    out_i = sigmoid(w_h . q_i) sum_j softmax_j(q_i . k_j / sqrt(d)) v_j

So a head that finds nothing need not send its share somewhere, such as to the first key. The paper
computes the gate from the layer's input; here it is from the head's query, itself a linear map of
it. It has a gate for each channel as well as this one for each head, and prefers the former.

Reference: Qiu et al. 2025, arXiv:2505.06708, section 2.2 (after the softmax, headwise).
Cost: t s (d + e) + t d products a head.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import ROLES, Options, Output, Params, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders.options import apply


def gated() -> Variant:
    """The scaled dot product, times a gate."""

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        wide = q.astype(wide_dtype(q, k, v))
        out = attention(wide, k, v, **options._asdict())
        # A query that is not finite makes NaN of what it sees already; what sees nothing stays 0.
        finite = jnp.where(jnp.isfinite(wide), wide, 0)
        gate = jax.nn.sigmoid(jnp.einsum("bthd,hd->bth", finite, params["w"].astype(wide.dtype)))
        return apply(lambda mixed: (gate[..., None] * mixed).astype(q.dtype), out)

    return Variant(init=_init, attend=attend, roles=ROLES)


def _init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
    del kv_heads
    return {"w": head_width**-0.5 * jax.random.normal(key, (heads, head_width))}
