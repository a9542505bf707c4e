"""Softmax off by one: 1 is added to its sum, so that a query may look nowhere.

    weight[i, j] = exp(score[i, j]) / (1 + sum_k exp(score[i, k])),  score = q . k / sqrt(d)

It gives up that weights sum to 1.

Reference: Miller 2023, "Attention is off by one",
https://www.evanmiller.org/attention-is-off-by-one.html.
Cost: t s (d + e) products a head.
"""

import jax.numpy as jnp
from jaxtyping import Array

from attention_jax.core import normalizers
from attention_jax.core.types import ROLES, Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention

ALIASES = ("softmax1",)


def softmax_off_by_one() -> Variant:
    """The scaled dot product beside a sink whose logit is 0."""

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        normalizer = normalizers.softmax_with_sink(jnp.zeros(q.shape[2]))
        return attention(q, k, v, normalizer=normalizer, **options._asdict())

    return Variant(init=no_parameters, attend=attend, roles=ROLES, divides=True)
