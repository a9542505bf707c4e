"""Distance attention: keys score by their Euclidean distance to the query, the nearest highest.

    score = -|q - k|^2 / sqrt(d)          or, with a width,
    score = -|q - k|^2 / (2 width^2)

With a width it is the Nadaraya-Watson estimate of the values, with a Gaussian kernel. Unlike a dot
product it never prefers a key for being long. Kim et al. show that it has a Lipschitz constant
where queries and keys have one projection, and the values a matrix made from it; that is left to
the layer around it, and without it there is no such constant.

Reference: Kim et al. 2021, arXiv:2006.04710, section 3.2; with a width Nadaraya 1964,
doi:10.1137/1109020, and Watson 1964, Sankhya A 26.
Cost: t s (d + e + 2) products a head.
"""

from attention_jax.core import scores
from attention_jax.core.types import Variant
from attention_jax.variants._builders.pair import from_score

ALIASES = ("l2",)


def distance(*, width: float | None = None) -> Variant:
    """The negative square of the distance.

    Args:
      width: standard deviation of the Gaussian, above 0; None divides by sqrt(d) instead.
    """
    score = scores.distance(width=width)
    return from_score(lambda params: score)
