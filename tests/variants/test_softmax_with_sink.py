import jax
import jax.numpy as jnp
import numpy as np

from attention_jax import variants


def test_matches_its_equation(qkv, draw):
    sink = draw(4)
    got = jax.jit(variants.get("softmax_with_sink").attend)({"sink": sink}, *qkv)
    q, k, v, sink = (np.asarray(x, np.float64) for x in (*qkv, sink))
    for b, t, h in np.ndindex(got.shape[:-1]):
        powers = np.exp(k[b, :, h // 2] @ q[b, t, h] / np.sqrt(8))
        expected = powers @ v[b, :, h // 2] / (np.exp(sink[h]) + powers.sum())
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_a_sink_that_starts_at_0_is_off_by_one(qkv):
    variant = variants.get("softmax_with_sink")
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    got = jax.jit(variant.attend)(params, *qkv)
    expected = jax.jit(variants.get("softmax_off_by_one").attend)({}, *qkv)
    np.testing.assert_array_equal(got, expected)


def test_without_its_sink_it_is_the_softmax(qkv):
    attend = jax.jit(variants.get("softmax_with_sink").attend)
    got = attend({"sink": jnp.full(4, -100.0)}, *qkv)
    expected = jax.jit(variants.get("scaled_dot").attend)({}, *qkv)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
