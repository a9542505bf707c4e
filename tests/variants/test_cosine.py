import jax
import numpy as np
import pytest

from attention_jax import variants


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_matches_its_equation(qkv, temperature):
    got = jax.jit(variants.get("cosine", temperature=temperature).attend)({}, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    q, k = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (q, k))
    for b, t, h in np.ndindex(got.shape[:-1]):
        weights = np.exp(k[b, :, h // 2] @ q[b, t, h] / temperature)
        expected = weights @ v[b, :, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-4, atol=1e-5)


def test_lengths_of_the_vectors_do_not_matter(qkv):
    q, k, v = qkv
    attend = jax.jit(variants.get("cosine").attend)
    np.testing.assert_allclose(
        attend({}, 7 * q, k / 9, v), attend({}, q, k, v), rtol=1e-4, atol=1e-5
    )
