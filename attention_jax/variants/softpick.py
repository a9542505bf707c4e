"""Softpick: a rectified softmax, whose weights may all be 0, so that no key serves as a sink.

    weight[i, j] = max(exp(score[i, j]) - 1, 0) / sum_k |exp(score[i, k]) - 1|

with score = q . k / sqrt(d). Keys that score below 0 get no weight, yet lower those of the others,
and so still get a gradient. It gives up that weights sum to 1.

Reference: Zuhri et al. 2025, arXiv:2504.20966.
Cost: t s (2 d + e) products a head.
"""

from jaxtyping import Array

from attention_jax.core import normalizers
from attention_jax.core.types import ROLES, Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention

ALIASES = ("rectified_softmax",)


def softpick() -> Variant:
    """The scaled dot product under a rectified softmax."""

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        return attention(q, k, v, normalizer=normalizers.softpick, **options._asdict())

    return Variant(init=no_parameters, attend=attend, roles=ROLES, divides=True)
