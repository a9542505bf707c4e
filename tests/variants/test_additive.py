import jax
import numpy as np
import pytest

from attention_jax import variants


@pytest.mark.parametrize("width", [None, 3])
def test_matches_its_equation(qkv, width):
    additive = variants.get("additive", width=width)
    params = additive.init(jax.random.key(1), heads=4, kv_heads=2, head_width=8)
    assert params["w_q"].shape == (width or 8, 8)
    got = jax.jit(additive.attend)(params, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    w_q, w_k, w = (np.asarray(params[name], np.float64) for name in ("w_q", "w_k", "w"))
    for b, t, h in np.ndindex(got.shape[:-1]):
        hidden = [np.tanh(w_q @ q[b, t, h] + w_k @ key) for key in k[b, :, h // 2]]
        weights = np.exp(hidden @ w)
        expected = weights @ v[b, :, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_hidden_layer_starts_with_variance_1(draw):
    additive = variants.get("additive", width=400)
    params = additive.init(jax.random.key(1), heads=4, kv_heads=2, head_width=64)
    hidden = draw(300, 64) @ params["w_q"].T + draw(300, 64) @ params["w_k"].T
    np.testing.assert_allclose(hidden.var(), 1, rtol=0.1)


def test_the_width_must_be_positive():
    with pytest.raises(ValueError, match="`width` must be a whole number of at least 1; got 0"):
        variants.get("additive", width=0)
