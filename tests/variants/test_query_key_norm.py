import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants


def test_matches_its_equation(qkv):
    scale = 3.0
    got = jax.jit(variants.get("query_key_norm").attend)({"scale": jnp.asarray(scale)}, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    q, k = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (q, k))
    for b, t, h in np.ndindex(got.shape[:-1]):
        weights = np.exp(scale * k[b, :, h // 2] @ q[b, t, h])
        expected = weights @ v[b, :, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [2, 512])
def test_the_scale_starts_where_the_paper_says(length):
    variant = variants.get("query_key_norm", length=length)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    np.testing.assert_allclose(params["scale"], np.log2(length * (length - 1)), rtol=1e-6)


def test_lengths_of_the_vectors_do_not_matter(qkv):
    q, k, v = qkv
    attend, params = jax.jit(variants.get("query_key_norm").attend), {"scale": jnp.asarray(3.0)}
    got = attend(params, 7 * q, k / 9, v)
    np.testing.assert_allclose(got, attend(params, q, k, v), rtol=1e-5, atol=1e-6)


def test_one_position_is_too_short():
    with pytest.raises(ValueError, match="`length` must be at least 2.*got 1"):
        variants.get("query_key_norm", length=1)
    with pytest.raises(ValueError, match="`length` must be a whole number of at least 1; got 0"):
        variants.get("query_key_norm", length=0)
