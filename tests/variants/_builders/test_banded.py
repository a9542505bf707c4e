import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.variants._builders import banded


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("t", "s", "first", "width"), [(70, 70, -2, 5), (5, 9, 3, 1), (33, 40, -40, 37)]
)
def test_products_and_sums_are_those_of_loops(draw, t, s, first, width):
    q, k, v = draw(1, t, 4, 3), draw(1, s, 2, 3), draw(1, s, 2, 2)
    weights = draw(1, t, 4, width)

    @jax.jit
    def run(q, k, v, weights, first):
        cut = lambda x: banded.windows(x, first=first, length=t, width=width)  # noqa: E731
        return banded.products(q, cut(k), width=width), banded.sums(weights, cut(v))

    products, sums = run(q, k, v, weights, jnp.int32(first))
    q, k, v, weights = (np.asarray(x, np.float64) for x in (q, k, v, weights))
    expected = np.zeros(sums.shape)
    for i, h, c in np.ndindex(t, 4, width):
        j = min(max(first + i + c, 0), s - 1)
        if j == first + i + c:
            np.testing.assert_allclose(
                products[0, i, h, c], q[0, i, h] @ k[0, j, h // 2], atol=1e-5
            )
        expected[0, i, h] += weights[0, i, h, c] * v[0, j, h // 2]
    np.testing.assert_allclose(sums, expected, atol=1e-4)
