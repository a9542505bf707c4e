import jax
import numpy as np

from attention_jax import variants


def test_matches_its_equation(qkv, draw):
    logs = draw(4)
    got = jax.jit(variants.get("temperature").attend)({"log_temperature": logs}, *qkv)
    q, k, v, logs = (np.asarray(x, np.float64) for x in (*qkv, logs))
    for b, t, h in np.ndindex(got.shape[:-1]):
        weights = np.exp(k[b, :, h // 2] @ q[b, t, h] / (np.sqrt(8) * np.exp(logs[h])))
        expected = weights @ v[b, :, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_it_starts_as_the_scaled_dot_product(qkv):
    variant = variants.get("temperature")
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    expected = jax.jit(variants.get("scaled_dot").attend)({}, *qkv)
    np.testing.assert_allclose(jax.jit(variant.attend)(params, *qkv), expected, rtol=1e-6)
