"""1.5-entmax attention, between softmax and sparsemax: low logits get exactly 0, smoothly.

    weight[i, j] = max(score[i, j] / 2 - threshold_i, 0)^2,  score = q . k / sqrt(d)

with the threshold where a row's weights sum to 1. It gives up a gradient to the keys outside the
support.

Reference: Peters et al. 2019, arXiv:1905.05702, equation 9 and algorithm 2.
Cost: t s (d + e) products a head; memory linear in s, for the threshold is found block by block.
"""

from jaxtyping import Array

from attention_jax.core import normalizers
from attention_jax.core.types import ROLES, Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention


def entmax15() -> Variant:
    """The scaled dot product under 1.5-entmax."""

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        return attention(q, k, v, normalizer=normalizers.entmax15, **options._asdict())

    return Variant(init=no_parameters, attend=attend, roles=ROLES, divides=True)
