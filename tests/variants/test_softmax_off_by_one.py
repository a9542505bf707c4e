import jax
import numpy as np

from attention_jax import variants


def test_matches_its_equation(qkv):
    got = jax.jit(variants.get("softmax_off_by_one").attend)({}, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    for b, t, h in np.ndindex(got.shape[:-1]):
        powers = np.exp(k[b, :, h // 2] @ q[b, t, h] / np.sqrt(8))
        expected = powers @ v[b, :, h // 2] / (1 + powers.sum())
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_a_query_that_no_key_answers_reads_almost_nothing(qkv):
    q, k, v = qkv
    got = jax.jit(variants.get("softmax_off_by_one").attend)({}, 100 * abs(q), -abs(k), v)
    np.testing.assert_allclose(got, np.zeros(got.shape), atol=1e-6)
