"""Strided attention: to near keys, and beyond them to one in `stride`; two layers reach every pair.

    visible[i, j] = |i - j| < stride or (i - j) mod stride = 0

Gives up far keys between the strides; it suits sequences with that period, such as the rows of an
image. The paper looks back only, as this does under `masks.causal`, and also splits the two parts
among heads or layers; here one head has both, its "merged" head.

Reference: Child et al. 2019, arXiv:1904.10509, section 4.3; merged heads: section 5.1.
Cost: t s (d + e) products a head: few blocks are empty, unless the stride is longer than they are.
"""

from attention_jax.core import masks
from attention_jax.core.types import Variant
from attention_jax.variants._builders.pair import from_mask


def strided(*, stride: int = 128) -> Variant:
    """The scaled dot product over a strided pattern.

    Args:
      stride: near the root of the length; the default is the paper's for images.
    """
    return from_mask(masks.strided(stride))
