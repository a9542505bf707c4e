"""Sparsemax attention: distant logits get a weight of exactly 0.

    weight[i] = argmin over p in the simplex of |p - scores of i|^2,  score = q . k / sqrt(d)

It gives up a gradient to the keys outside the support.

Reference: Martins & Astudillo 2016, arXiv:1602.02068, algorithm 1.
Cost: t s (d + e) products a head; memory linear in s, for the threshold is found block by block.
"""

from jaxtyping import Array

from attention_jax.core import normalizers
from attention_jax.core.types import ROLES, Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention


def sparsemax() -> Variant:
    """The scaled dot product, projected onto the simplex."""

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        return attention(q, k, v, normalizer=normalizers.sparsemax, **options._asdict())

    return Variant(init=no_parameters, attend=attend, roles=ROLES, divides=True)
