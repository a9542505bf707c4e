import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


@pytest.mark.parametrize(("offset", "mask"), [(0, None), (2, None), (0, masks.causal)])
def test_matches_its_equation(qkv, draw, offset, mask):
    variant, w = variants.get("location", max_length=7), draw(7, 8)
    run = jax.jit(
        lambda *qkv: variant.attend({"w": w}, *qkv, Options(mask=mask, key_offset=offset))
    )
    got = run(*qkv)
    q, v, w = (np.asarray(x, np.float64) for x in (qkv[0], qkv[2], w))
    for b, t, h in np.ndindex(got.shape[:-1]):
        seen = 5 if mask is None else t + 1
        weights = np.exp(w[offset : offset + seen] @ q[b, t, h])
        expected = weights @ v[b, :seen, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_neither_a_key_nor_the_place_of_the_query_matters(qkv, draw):
    variant, params = variants.get("location", max_length=7), {"w": draw(7, 8)}
    q, k, v = qkv
    run = jax.jit(lambda k, offset: variant.attend(params, q, k, v, Options(query_offset=offset)))
    expected = run(k, jnp.int32(0))
    np.testing.assert_array_equal(run(3 * k, jnp.int32(2)), expected)


def test_lengths_beyond_the_table_are_refused(qkv):
    with pytest.raises(ValueError, match="`max_length` must be a whole number of at least 1"):
        variants.get("location", max_length=0)
    variant = variants.get("location", max_length=6)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    with pytest.raises(ValueError, match="go from 0 to 5; got 5 from 2. Raise `max_length`"):
        variant.attend(params, *qkv, Options(key_offset=2))
