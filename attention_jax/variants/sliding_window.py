"""Sliding-window attention: to near keys only.

    visible[i, j] = |i - j| < size

Reference: Beltagy et al. 2020, arXiv:2004.05150, section 3.1.
Cost: t size (d + e) products a head where windows are skipped; t s (d + e) where not.
"""

from attention_jax.core import masks
from attention_jax.core.types import Variant
from attention_jax.variants._builders.pair import from_mask

ALIASES = ("swa",)


def sliding_window(*, size: int = 257) -> Variant:
    """The scaled dot product within a window.

    Args:
      size: keys nearer than this are seen; the default shows 256 on each side, a window of
        512 as in the paper.
    """
    return from_mask(masks.sliding_window(size))
