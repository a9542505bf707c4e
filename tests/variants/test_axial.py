import jax
import numpy as np
import pytest

from attention_jax import variants


@pytest.mark.parametrize("along", ["row", "column", "both"])
def test_matches_attention_along_the_axes_of_a_grid(draw, along):
    rows, columns = 3, 4
    qkv = (
        draw(2, rows * columns, 4, 8),
        draw(2, rows * columns, 2, 8),
        draw(2, rows * columns, 2, 6),
    )
    attend = variants.get("axial", width=columns, along=along).attend
    got = jax.jit(attend)({}, *qkv).reshape(2, rows, columns, 4, 6)
    q, k, v = (np.asarray(x, np.float64).reshape(2, rows, columns, *x.shape[2:]) for x in qkv)
    for b, y, x, h in np.ndindex(2, rows, columns, 4):
        row = [(y, n) for n in range(columns)]
        column = [(n, x) for n in range(rows)]
        places = {"row": row, "column": column, "both": sorted({*row, *column})}[along]
        keys, values = (np.stack([z[b, *at, h // 2] for at in places]) for z in (k, v))
        weights = np.exp(keys @ q[b, y, x, h] / np.sqrt(8))
        expected = weights @ values / weights.sum()
        np.testing.assert_allclose(got[b, y, x, h], expected, rtol=1e-5, atol=1e-6)


def test_one_row_or_one_column_is_scaled_dot(qkv):
    expected = jax.jit(variants.get("scaled_dot").attend)({}, *qkv)
    for options in ({"width": 5, "along": "row"}, {"width": 1, "along": "column"}):
        got = jax.jit(variants.get("axial", **options).attend)({}, *qkv)
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="`width` must be a whole number of at least 1; got 0"):
        variants.get("axial", width=0)
    with pytest.raises(ValueError, match="`along` must be one of 'row', 'column', 'both'; got 'x'"):
        variants.get("axial", along="x")
