import jax
import numpy as np
import pytest

from attention_jax import variants


def test_a_sequence_alone_attends_to_itself(draw):
    x = draw(1, 4, 1, 3)
    got = jax.jit(variants.get("dot").attend)({}, x)
    rows = np.asarray(x[0, :, 0], np.float64)
    weights = np.exp(rows @ rows.T)
    expected = weights / weights.sum(-1, keepdims=True) @ rows
    np.testing.assert_allclose(got[0, :, 0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_values_default_to_the_keys(qkv):
    q, k, _ = qkv
    attend = jax.jit(variants.get("dot").attend)
    np.testing.assert_array_equal(attend({}, q, k), attend({}, q, k, k))
