"""Grids of vectors brought to another size, beside loops over the equation."""

import numpy as np
import pytest

from attention_jax.nn.place_grids import resized


def cube(x, a=-0.75):
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


@pytest.mark.parametrize("after", [(3, 2), (5, 7), (2, 1)])
def test_each_new_vector_is_a_sum_of_sixteen(draw, after):
    before = (3, 4)
    table = draw(12, 2)
    grid = np.asarray(table, np.float64).reshape(*before, 2)
    wanted = np.zeros((*after, 2))
    for y, x in np.ndindex(*after):
        down, across = (
            (i + 0.5) * n / k - 0.5 for i, n, k in zip((y, x), before, after, strict=True)
        )
        for row in range(-3, 7):
            for column in range(-3, 8):
                held = grid[np.clip(row, 0, 2), np.clip(column, 0, 3)]
                wanted[y, x] += cube(down - row) * cube(across - column) * held
    np.testing.assert_allclose(
        resized(table, before, after), wanted.reshape(-1, 2), rtol=1e-5, atol=1e-5
    )


def test_the_same_size_changes_nothing(draw):
    table = draw(12, 2)
    for antialias in (False, True):
        same = resized(table, (3, 4), (3, 4), antialias=antialias)
        np.testing.assert_allclose(same, table, rtol=1e-5, atol=1e-5)
