"""Attention with linear biases: distance lowers the score, and no position is learned.

    score[h, i, j] = q_i . k_j / sqrt(d) - 2^(-8 (h + 1) / heads) |i - j|

Reference: Press et al. 2022, arXiv:2108.12409, section 3.
Cost: t s (d + e + 1) products a head.
"""

from jaxtyping import Array

from attention_jax.core import positions
from attention_jax.core.types import Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention


def alibi() -> Variant:
    """The scaled dot product, lowered by distance."""

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        lower = positions.alibi(heads=q.shape[2])
        return attention(q, k, v, score_mod=lower, **options._asdict())

    return Variant(init=no_parameters, attend=attend, divides=True)
