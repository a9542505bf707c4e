import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def test_matches_its_equation(qkv, draw):
    query = draw(4, 8)
    got = jax.jit(variants.get("pooling").attend)({"query": query}, *qkv)
    query, k, v = (np.asarray(x, np.float64) for x in (query, *qkv[1:]))
    for b, t, h in np.ndindex(got.shape[:-1]):
        weights = np.exp(k[b, :, h // 2] @ query[h] / np.sqrt(8))
        expected = weights @ v[b, :, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_given_queries_count_for_their_positions_only(qkv, draw):
    q, k, v = qkv
    variant = variants.get("pooling")
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)

    def loss(q, k, v):
        return (variant.attend(params, q, k, v, Options(mask=masks.causal)) ** 2).sum()

    gradients = jax.jit(jax.grad(loss, (0, 1)))(q, k, v)
    np.testing.assert_array_equal(gradients[0], np.zeros(q.shape))
    assert (gradients[1] != 0).any()
    attend = jax.jit(lambda q: variant.attend(params, q, k, v, Options(mask=masks.causal)))
    np.testing.assert_array_equal(attend(q), attend(draw(*q.shape)))


def test_the_logarithm_of_the_sum_comes_with_it(qkv):
    q, k, v = (x.astype(jnp.bfloat16) for x in qkv)
    params = {"query": jnp.zeros((4, 8))}
    out, lse = variants.get("pooling").attend(params, q, k, v, Options(return_lse=True))
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(lse, np.full((2, 5, 4), np.log(5)), rtol=1e-6)
