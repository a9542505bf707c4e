"""Scaled dot-product attention, that of the Transformer.

    score = q . k / sqrt(d)

Reference: Vaswani et al. 2017, arXiv:1706.03762, equation 1.
Cost: t s (d + e) products a head.
"""

from attention_jax.core import scores
from attention_jax.core.types import Variant
from attention_jax.variants._builders.pair import from_score

ALIASES = ("sdpa",)


def scaled_dot() -> Variant:
    """The dot product over the square root of the width."""
    return from_score(lambda params: scores.scaled_dot)
