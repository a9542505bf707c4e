import jax
import numpy as np
import pytest

from attention_jax import variants


def projected(z):
    """Algorithm 1 of arXiv:1602.02068."""
    ranked = np.sort(z)[::-1]
    size = max(n for n in range(1, len(z) + 1) if 1 + n * ranked[n - 1] > ranked[:n].sum())
    return np.maximum(z - (ranked[:size].sum() - 1) / size, 0)


def test_matches_its_equation(qkv):
    got = jax.jit(variants.get("sparsemax").attend)({}, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    supports = set()
    for b, t, h in np.ndindex(got.shape[:-1]):
        weights = projected(k[b, :, h // 2] @ q[b, t, h] / np.sqrt(8))
        supports.add((weights > 0).sum())
        expected = weights @ v[b, :, h // 2]
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)
    assert min(supports) < 3 < max(supports)


@pytest.mark.slow
def test_a_clear_winner_takes_all(qkv):
    q, k, v = qkv
    got = jax.jit(variants.get("sparsemax").attend)({}, 1e4 * q, k, v)
    expected = jax.jit(variants.get("hard").attend)({}, q, k, v)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
