"""Gated attention: each head's output is multiplied by a sigmoid gate of the layer's input.

    out_i = sigmoid(W_h x_i) * sum_j softmax_j(q_i . k_j / sqrt(d)) v_j

So a head that finds nothing need not send its share somewhere, such as to the first key. The gate
comes from the layer's input x, one for each channel, which the paper prefers. The short form,
`gates="query"`, has one for each head, of its query, itself a linear map of x:

    out_i = sigmoid(w_h . q_i) sum_j softmax_j(q_i . k_j / sqrt(d)) v_j

Reference: Qiu et al. 2025, arXiv:2505.06708, section 2.2 (after the softmax).
Cost: t s (d + e) + t m d products a head, of an input of width m; with `gates="query"` t d in place
of t m d.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import ROLES, Options, Output, Params, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders.options import apply


def gated(*, gates: str = "input") -> Variant:
    """The scaled dot product, times a gate.

    Args:
      gates: what gates are computed from: "input", of the layer, one for each channel; or "query",
        one for each head.
    """
    checks.one_of("gates", gates, ("input", "query"))
    if gates == "query":
        return Variant(init=_init, attend=_attend, roles=ROLES)
    return Variant(
        init=_init_inputs, attend=_attend_by_input, roles=ROLES, divides=True, features=_of_input
    )


def _attend(params: Params, q: Array, k: Array, v: Array, options: Options = Options()) -> Output:
    wide = q.astype(wide_dtype(q, k, v))
    # A query that is not finite makes NaN of what it sees already; what sees nothing stays 0.
    finite = jnp.where(jnp.isfinite(wide), wide, 0)
    logits = jnp.einsum("bthd,hd->bth", finite, params["w"].astype(wide.dtype))
    return _gated(logits[..., None], q, k, v, options)


def _attend_by_input(
    params: Params, q: Array, k: Array, v: Array, options: Options = Options(), *, features: Array
) -> Output:
    del params
    return _gated(features[..., : v.shape[-1]], q, k, v, options)


def _gated(
    logits: Float[Array, "b t h #e"], q: Array, k: Array, v: Array, options: Options
) -> Output:
    wide = q.astype(wide_dtype(q, k, v))
    gate = jax.nn.sigmoid(logits.astype(wide.dtype))
    out = attention(wide, k, v, **options._asdict())
    return apply(lambda mixed: (gate * mixed).astype(q.dtype), out)


def _init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
    del kv_heads
    return {"w": head_width**-0.5 * jax.random.normal(key, (heads, head_width))}


def _init_inputs(
    key: PRNGKeyArray, *, width: int, heads: int, kv_heads: int, head_width: int
) -> dict[str, Array]:
    del kv_heads
    return {"w": width**-0.5 * jax.random.normal(key, (width, heads, head_width))}


def _of_input(params: Params, x: Float[Array, "b t m"]) -> Float[Array, "b t h d"]:
    """The logits of the gates."""
    wide = x.astype(wide_dtype(x))
    return jnp.einsum("btm,mhd->bthd", wide, params["w"].astype(wide.dtype))
