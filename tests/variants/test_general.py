import jax
import numpy as np

from attention_jax import variants


def test_matches_its_equation(qkv, draw):
    w = draw(8, 8)
    got = jax.jit(variants.get("general").attend)({"w": w}, *qkv)
    q, k, v, w = (np.asarray(x, np.float64) for x in (*qkv, w))
    for b, t, h in np.ndindex(got.shape[:-1]):
        weights = np.exp(k[b, :, h // 2] @ (q[b, t, h] @ w))
        expected = weights @ v[b, :, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-4, atol=1e-5)


def test_starts_as_the_scaled_dot_product(qkv):
    general, scaled = variants.get("general"), variants.get("scaled_dot")
    params = general.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    got = jax.jit(general.attend)(params, *qkv)
    np.testing.assert_allclose(got, jax.jit(scaled.attend)({}, *qkv), rtol=1e-5, atol=1e-6)
