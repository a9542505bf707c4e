import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants


@pytest.mark.parametrize("width", [None, 1.5])
def test_matches_its_equation(qkv, width):
    got = jax.jit(variants.get("distance", width=width).attend)({}, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    over = np.sqrt(8) if width is None else 2 * width**2
    for b, t, h in np.ndindex(got.shape[:-1]):
        squares = ((k[b, :, h // 2] - q[b, t, h]) ** 2).sum(-1)
        weights = np.exp(-squares / over)
        expected = weights @ v[b, :, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_narrow_gaussian_reads_the_nearest_key(qkv):
    q, k, v = qkv
    near = jnp.repeat(k, 2, axis=2) + 0.01
    got = jax.jit(variants.get("distance", width=0.1).attend)({}, near, k, v)
    np.testing.assert_allclose(got, jnp.repeat(v, 2, axis=2), rtol=1e-5, atol=1e-6)


def test_a_wide_one_means_all(qkv):
    got = jax.jit(variants.get("distance", width=1e4).attend)({}, *qkv)
    expected = np.repeat(np.asarray(qkv[2]).mean(1, keepdims=True), 2, axis=2)
    np.testing.assert_allclose(got, np.broadcast_to(expected, got.shape), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("width", "message"),
    [
        (0, "`width` must be above 0, or None; got"),
        (-1.0, "`width` must be above 0, or None; got"),
        (float("nan"), "`width` must be finite and a number or None .*; got nan"),
    ],
)
def test_the_width_must_be_positive(width, message, users_errors):
    with pytest.raises(ValueError, match=message):
        variants.get("distance", width=width)
