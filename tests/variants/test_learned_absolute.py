import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core.types import Options


def test_matches_its_equation(qkv, draw):
    variant, of_query, of_key = variants.get("learned_absolute"), draw(9, 4, 8), draw(9, 2, 8)
    params = {"query": of_query, "key": of_key}
    run = jax.jit(lambda *qkv: variant.attend(params, *qkv, Options(query_offset=3, key_offset=1)))
    got = run(*qkv)
    q, k, v, of_query, of_key = (np.asarray(x, np.float64) for x in (*qkv, of_query, of_key))
    for b, t, h in np.ndindex(got.shape[:-1]):
        keys = k[b, :, h // 2] + of_key[1:6, h // 2]
        weights = np.exp(keys @ (q[b, t, h] + of_query[t + 3, h]) / np.sqrt(8))
        expected = weights @ v[b, :, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_without_positions_it_is_scaled_dot(qkv):
    params = {"query": jnp.zeros((5, 4, 8)), "key": jnp.zeros((5, 2, 8))}
    got = jax.jit(variants.get("learned_absolute").attend)(params, *qkv)
    expected = jax.jit(variants.get("scaled_dot").attend)({}, *qkv)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_each_head_has_its_own_positions():
    variant = variants.get("learned_absolute", max_length=9)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    assert params["query"].shape == (9, 4, 8) and params["key"].shape == (9, 2, 8)


def test_positions_beyond_the_table_are_refused_or_nan(qkv, draw):
    with pytest.raises(ValueError, match="`max_length` must be a whole number of at least 1"):
        variants.get("learned_absolute", max_length=0)
    variant = variants.get("learned_absolute", max_length=6)
    params = {"query": draw(6, 4, 8), "key": draw(6, 2, 8)}
    with pytest.raises(ValueError, match="go from 0 to 5; got 5 from 2. Raise `max_length`"):
        variant.attend(params, *qkv, Options(query_offset=2))
    run = jax.jit(lambda at: variant.attend(params, *qkv, Options(query_offset=at)))
    beyond = np.isnan(run(jnp.int32(3))).all((0, 2, 3))
    np.testing.assert_array_equal(beyond, [False, False, False, True, True])
