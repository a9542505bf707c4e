"""Tables of vectors on a grid, such as learned positions of patches, brought to another size."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

SHARPNESS = -0.75  # of the cubes, as torch has it; with antialias -0.5, as jax.image has it


def resized(
    table: Float[Array, "n m"],
    before: tuple[int, int],
    after: tuple[int, int],
    *,
    antialias: bool = False,
) -> Float[Array, "k m"]:
    """A table of a grid, row by row, as one of another grid, by bicubic interpolation.

        y[i] = sum_j k(x_i - j) table[clip(j)]        x_i = (i + 1/2) before / after - 1/2

    k is the cube of Keys with a = -3/4, and beyond the edge stands what is at the edge. With
    `antialias`, a = -1/2, k is as wide as a new cell, and weights beyond the edge are left out.

    Reference: Keys 1981, IEEE Transactions on Acoustics, Speech and Signal Processing 29.
    """
    width = table.shape[-1]
    grid = table.reshape(*before, width)
    if antialias:
        return jax.image.resize(grid, (*after, width), "cubic").reshape(-1, width)
    down, across = (jnp.asarray(_weights(*pair)) for pair in zip(before, after, strict=True))
    return jnp.einsum("yi,ijm,xj->yxm", down, grid, across).reshape(-1, width)


def _weights(before: int, after: int) -> Float[np.ndarray, "k n"]:
    """The weight of each old cell in each new one."""
    found = np.zeros((after, before), np.float32)
    for i in range(after):
        at = (i + 0.5) * before / after - 0.5
        first = int(np.floor(at)) - 1
        for j in range(first, first + 4):
            found[i, min(max(j, 0), before - 1)] += _cube(abs(at - j))
    return found


def _cube(x: float, a: float = SHARPNESS) -> float:
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0
