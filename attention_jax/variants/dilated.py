"""Dilated window: as many keys as a sliding window, with gaps between them, further away.

    visible[i, j] = |i - j| < size dilation and (i - j) mod dilation = 0

Gives up the keys between two steps, which other layers or heads have to see. The paper dilates
some heads of its upper layers only; here all heads of a layer are alike.

Reference: Beltagy et al. 2020, arXiv:2004.05150, section 3.1.
Cost: t size dilation (d + e) products a head where blocks are skipped, for the keys in the gaps
are computed; t s (d + e) where not.
"""

from attention_jax.core import masks
from attention_jax.core.types import Variant
from attention_jax.variants._builders.pair import from_mask


def dilated(*, size: int = 257, dilation: int = 2) -> Variant:
    """The scaled dot product within a dilated window.

    Args:
      size: keys nearer than this many steps are seen; the default shows 256 on each side, as
        many as the paper's window of 512.
      dilation: positions in a step; with 1 it is `sliding_window`.
    """
    return from_mask(masks.sliding_window(size, dilation=dilation))
