"""Axial attention: along the row and the column of a grid; two layers reach every pair.

    visible[i, j] = floor(i / width) = floor(j / width) or i mod width = j mod width

Positions are those of the grid, read row by row. Gives up pairs that share neither. The paper has
rows and columns in layers of their own, as `along` allows; by default one softmax has both.

Reference: Ho et al. 2019, arXiv:1912.12180; both in one softmax: Huang et al. 2018,
arXiv:1811.11721.
Cost: t s (d + e) products a head; with `along="row"` t width (d + e) where blocks are skipped.
"""

from attention_jax.core import masks
from attention_jax.core.types import Variant
from attention_jax.variants._builders.pair import from_mask


def axial(*, width: int = 32, along: str = "both") -> Variant:
    """The scaled dot product along the axes of a grid.

    Args:
      width: number of columns; the default is that of the paper's smaller images.
      along: "row", "column" or "both".
    """
    return from_mask(masks.axial(width, along=along))
