"""Dot-product attention, with neither a scale nor parameters.

    score = q . k

Reference: Luong et al. 2015, arXiv:1508.04025, section 3.1.
Cost: t s (d + e) products a head.
"""

from jaxtyping import Array

from attention_jax.core import scores
from attention_jax.core.types import ROLES, Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention


def dot() -> Variant:
    """The dot product; `attend(params, x)` alone compares a sequence with itself."""

    def attend(
        params: Params,
        q: Array,
        k: Array | None = None,
        v: Array | None = None,
        options: Options = Options(),
    ) -> Output:
        del params
        k = q if k is None else k
        v = k if v is None else v
        return attention(q, k, v, score=scores.dot, **options._asdict())

    return Variant(
        no_parameters, attend, score=lambda params: scores.dot, roles=ROLES, divides=True
    )
