"""Softmax with a sink: a learned logit in each head takes a share for no key.

    weight[i, j] = exp(score[i, j]) / (exp(sink_h) + sum_k exp(score[i, k]))

with score = q . k / sqrt(d). It gives up that weights sum to 1.

Reference: OpenAI 2025, arXiv:2508.10925, section 2.2.
Cost: t s (d + e) products a head.
"""

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core import normalizers
from attention_jax.core.types import ROLES, Options, Output, Params, Variant
from attention_jax.engine.api import attention

ALIASES = ("attention_sink",)


def softmax_with_sink() -> Variant:
    """The scaled dot product beside a learned sink, which starts at 0."""

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        normalizer = normalizers.softmax_with_sink(params["sink"])
        return attention(q, k, v, normalizer=normalizer, **options._asdict())

    return Variant(init=_init, attend=attend, roles=ROLES, divides=True)


def _init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
    del key, kv_heads, head_width
    return {"sink": jnp.zeros(heads)}
