import jax
import numpy as np

from attention_jax import variants


def by_bisection(z):
    """Equation 9 of arXiv:1905.05702: [z / 2 - threshold]_+^2 that sums to 1."""
    low, high = z.max() / 2 - 1, z.max() / 2
    for _ in range(100):
        middle = (low + high) / 2
        total = (np.maximum(z / 2 - middle, 0) ** 2).sum()
        low, high = (middle, high) if total > 1 else (low, middle)
    return np.maximum(z / 2 - low, 0) ** 2


def test_matches_its_equation(qkv):
    got = jax.jit(variants.get("entmax15").attend)({}, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    sparse = 0
    for b, t, h in np.ndindex(got.shape[:-1]):
        weights = by_bisection(k[b, :, h // 2] @ q[b, t, h] / np.sqrt(8))
        sparse += (weights == 0).any()
        expected = weights @ v[b, :, h // 2]
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)
    assert 0 < sparse < 40


def test_it_is_entmax_at_one_and_a_half(qkv):
    # 1.01 + 0.99 sigmoid(a) is 1.5 at this a.
    share = (1.5 - 1.01) / 0.99
    params = {"a": np.full(4, np.log(share / (1 - share)), np.float32)}
    got = jax.jit(variants.get("entmax").attend)(params, *qkv)
    expected = jax.jit(variants.get("entmax15").attend)({}, *qkv)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
