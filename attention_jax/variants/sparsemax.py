"""Attention that gives distant logits a weight of exactly 0.

    weight[i] = argmin over p in the simplex of |p - scores of i|^2,  score = q . k / sqrt(d)

It gives up a gradient to the keys outside the support.

Reference: Martins & Astudillo 2016, arXiv:1602.02068, algorithm 1.
Cost: t s (d + e) products a head; memory linear in s, for the threshold is found block by block.
"""

from typing import Any

from jaxtyping import Array

from attention_jax.core import normalizers
from attention_jax.core.types import PLACES, Params, Variant, no_parameters
from attention_jax.engine.api import attention


def sparsemax() -> Variant:
    """The scaled dot product, projected onto the simplex."""

    def attend(params: Params, q: Array, k: Array, v: Array, **request: Any) -> Any:
        del params
        return attention(q, k, v, normalizer=normalizers.sparsemax, **request)

    return Variant(init=no_parameters, attend=attend, serves=PLACES)
