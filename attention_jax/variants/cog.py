"""Cog attention: weights take the signs of their scores, so that a head can subtract what it reads.

    weight[i, j] = sign(score[i, j]) exp(|score[i, j]|) / sum_k exp(|score[i, k]|)

with score = q . k / sqrt(d). It gives up that weights are positive and sum to 1, and jumps where a
score changes its sign.

Reference: Lv et al. 2024, arXiv:2411.07176.
Cost: t s (2 d + e) products a head.
"""

from jaxtyping import Array

from attention_jax.core import normalizers
from attention_jax.core.types import ROLES, Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention


def cog() -> Variant:
    """The scaled dot product under a softmax of sizes, with the signs of the scores."""

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        return attention(q, k, v, normalizer=normalizers.signed_softmax, **options._asdict())

    return Variant(init=no_parameters, attend=attend, roles=ROLES, divides=True)
