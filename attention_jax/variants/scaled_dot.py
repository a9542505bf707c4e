"""The attention of the transformer.

    score = q . k / sqrt(d)

Reference: Vaswani et al. 2017, arXiv:1706.03762, equation 1.
Cost: t s (d + e) products a head.
"""

from attention_jax import scores
from attention_jax.attention import from_score
from attention_jax.types import Variant


def scaled_dot() -> Variant:
    """The dot product over the square root of the width."""
    return from_score(lambda params: scores.scaled_dot)
