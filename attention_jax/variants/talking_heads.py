"""Attention whose heads exchange their logits before the softmax, and their weights after it.

    logit[m, i, j] = sum_h P[h, m] q_hi . k_hj / sqrt(d)
    weight[n, i, j] = sum_m W[m, n] softmax_j logit[m, i, j]
    out_n = sum_j weight[n, i, j] v_nj

All three numbers of heads of the paper are one here. P and W start as the identity, which is
multi-head attention; dropout falls on the weights that meet the values. As heads mix, `mask` must
be the same for all of them.

Reference: Shazeer et al. 2020, arXiv:2003.02436, section 3.
Cost: t s (d + e + 2 h) products a head, and h t s numbers held.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import normalizers
from attention_jax.core.jaxprs import depends_on
from attention_jax.core.normalizers import Normalizer
from attention_jax.core.types import ROLES, Options, Output, Params, Variant
from attention_jax.engine.api import attention


def talking_heads() -> Variant:
    """The scaled dot product with mixed heads."""

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        if options.mask is not None and depends_on(options.mask)[1]:
            raise ValueError(
                "`mask` of talking_heads must not depend on h, for a key that one head sees would "
                "reach the others; got one that does. Use a mask of b, i and j, or scaled_dot."
            )
        mixed = _mixed(params["logits"], params["weights"])
        return attention(q, k, v, normalizer=mixed, **options._asdict())

    return Variant(init=_init, attend=attend, roles=ROLES)


def _init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
    del key, kv_heads, head_width
    return {"logits": jnp.eye(heads), "weights": jnp.eye(heads)}


def _mixed(before: Float[Array, "h h"], after: Float[Array, "h h"]) -> Normalizer:
    """A softmax between two mixtures of heads."""

    def weights(logits: Float[Array, "b h t s"], visible: Array) -> Float[Array, "b h t s"]:
        # A hidden logit may be NaN, and 0 * NaN would reach the derivative of the mixture.
        heard = jnp.where(visible, logits, 0)
        mixed = jnp.einsum("bhts,hm->bmts", heard, before.astype(logits.dtype))
        shares = normalizers.softmax.weights(mixed, visible)
        return jnp.einsum("bmts,mn->bnts", shares, after.astype(logits.dtype))

    return Normalizer("talking_heads", weights)
