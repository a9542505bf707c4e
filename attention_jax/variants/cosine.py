"""Cosine attention: scores by the angle between query and key.

    score = q . k / (|q| |k| temperature)

Reference: Graves et al. 2014, arXiv:1410.5401, equation 6; the temperature as in Liu et al.
2021, arXiv:2111.09883, equation 2.
Cost: t s (d + e) products a head.
"""

from attention_jax.core import scores
from attention_jax.core.types import Variant
from attention_jax.variants._builders.pair import from_score


def cosine(*, temperature: float = 0.1) -> Variant:
    """The cosine over a temperature.

    Args:
      temperature: above 0; the default is where Liu et al. start.
    """
    score = scores.cosine(temperature=temperature)
    return from_score(lambda params: score)
