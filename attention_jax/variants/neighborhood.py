"""Neighborhood attention: to the nearest positions of a grid, as many at its borders.

    start(n, length) = min(max(n - floor(size / 2), 0), length - size)
    visible[i, j] = 0 <= row(j) - start(row(i), height) < size and the same for the columns

Positions are those of the grid, read row by row. Gives up all that is further away. The paper also
learns a bias for each relative place; here there is none. It sees both ways; under `masks.causal`
a query sees those of its neighbors that come before it.

Reference: Hassani et al. 2023, arXiv:2204.07143, section 3.1.
Cost: t size width (d + e) products a head where blocks are skipped, for whole rows are computed;
t s (d + e) where not.
"""

from jaxtyping import Array

from attention_jax.core import checks, masks
from attention_jax.core.types import Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention

ALIASES = ("neighbourhood", "natten")


def neighborhood(*, size: int = 7, width: int = 56, height: int | None = None) -> Variant:
    """The scaled dot product within a window on a grid.

    Args:
      size: of the window in rows and in columns, odd.
      width: number of columns; the default is that of the paper's first layers.
      height: number of rows; None for a square grid.
    """
    checks.positive("width", width)
    height = width if height is None else height
    near = masks.neighborhood(size, height=height, width=width)

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        for name, array in (("query", q), ("key", k)):
            if array.shape[1] > height * width:
                raise ValueError(
                    f"The length of `{name}` must be at most that of the grid; got "
                    f"{array.shape[1]} positions, and {height} rows of {width}. "
                    "Raise `height` or `width`."
                )
        shown = options._replace(mask=masks.both(near, options.mask))
        return attention(q, k, v, **shown._asdict())

    return Variant(init=no_parameters, attend=attend)
