import jax
import numpy as np
import pytest

from attention_jax import variants


@pytest.mark.parametrize("width", [None, 3])
def test_matches_its_equation(qkv, width):
    concat = variants.get("concat", width=width)
    params = concat.init(jax.random.key(1), heads=4, kv_heads=2, head_width=8)
    assert params["w"].shape == (width or 8, 16)
    got = jax.jit(concat.attend)(params, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    w, across = (np.asarray(params[name], np.float64) for name in ("w", "v"))
    for b, t, h in np.ndindex(got.shape[:-1]):
        both = [np.concatenate([q[b, t, h], key]) for key in k[b, :, h // 2]]
        weights = np.exp([across @ np.tanh(w @ pair) for pair in both])
        expected = weights @ v[b, :, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_it_is_additive_attention_with_both_matrices_in_one(qkv, draw):
    w_q, w_k, w = draw(5, 8), draw(5, 8), draw(5)
    joined = {"w": np.concatenate([w_q, w_k], axis=1), "v": w}
    got = jax.jit(variants.get("concat").attend)(joined, *qkv)
    apart = {"w_q": w_q, "w_k": w_k, "w": w}
    expected = jax.jit(variants.get("additive").attend)(apart, *qkv)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_the_width_must_be_positive():
    with pytest.raises(ValueError, match="`width` must be a whole number of at least 1; got 0"):
        variants.get("concat", width=0)
