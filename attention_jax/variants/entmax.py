"""Adaptively sparse attention: each head learns its entmax, from near softmax to sparsemax.

    weight[i, j] = max((alpha_h - 1) score[i, j] - threshold_i, 0)^(1 / (alpha_h - 1))
    alpha_h = 1.01 + 0.99 sigmoid(a_h),  score = q . k / sqrt(d)

with the threshold where a row's weights sum to 1, and a learned. It gives up linear memory: the
threshold's derivative in alpha needs whole rows.
The paper has alpha = 1 + sigmoid(a); below 1.01, where the authors' code clips it and its gradient
ends, powers lose digits in float32.

Reference: Correia et al. 2019, arXiv:1909.00015, equation 3 and section 3.2.
Cost: t s (d + e) products and 28 powers of t s numbers a head; memory t s a head.
"""

import jax
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core import normalizers
from attention_jax.core.types import ROLES, Options, Output, Params, Variant
from attention_jax.engine.api import attention

LEAST = 1.01


def entmax() -> Variant:
    """The scaled dot product under entmax, with one learned alpha a head."""

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        alpha = LEAST + (2 - LEAST) * jax.nn.sigmoid(params["a"])
        return attention(q, k, v, normalizer=normalizers.entmax(alpha), **options._asdict())

    return Variant(init=_init, attend=attend, roles=ROLES, divides=True)


def _init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
    del kv_heads, head_width
    return {"a": jax.random.normal(key, (heads,))}
