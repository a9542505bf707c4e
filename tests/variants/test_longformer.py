import jax
import numpy as np
import pytest

from attention_jax import variants


@pytest.mark.parametrize("size, count", [(1, 1), (2, 2)])
def test_matches_its_equation(qkv, size, count):
    attend = variants.get("longformer", size=size, global_tokens=count).attend
    got = jax.jit(attend)({}, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    for b, t, h in np.ndindex(got.shape[:-1]):
        seen = [j for j in range(5) if abs(t - j) < size or t < count or j < count]
        weights = np.exp(k[b, seen, h // 2] @ q[b, t, h] / np.sqrt(8))
        expected = weights @ v[b, seen, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_a_sequence_of_global_tokens_is_scaled_dot(qkv):
    got, expected = (
        jax.jit(variants.get(name, **options).attend)({}, *qkv)
        for name, options in (("longformer", {"size": 1, "global_tokens": 5}), ("scaled_dot", {}))
    )
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_there_is_a_window_and_a_global_token():
    with pytest.raises(ValueError, match="`size` must hold at least 1 position; got 0"):
        variants.get("longformer", size=0)
    with pytest.raises(ValueError, match="`global_tokens` must be a whole number.*; got 0"):
        variants.get("longformer", global_tokens=0)
