import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


@pytest.mark.parametrize("mask", [None, masks.causal])
def test_matches_its_equation(qkv, draw, mask):
    params = {"logits": draw(4, 4), "weights": draw(4, 4)}
    attend = variants.get("talking_heads").attend
    got = jax.jit(lambda *qkv: attend(params, *qkv, Options(mask=mask)))(*qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    before, after = (np.asarray(params[name], np.float64) for name in ("logits", "weights"))
    for b, t in np.ndindex(2, 5):
        end = 5 if mask is None else t + 1
        logits = np.stack([k[b, :end, h // 2] @ q[b, t, h] / np.sqrt(8) for h in range(4)])
        powers = np.exp(before.T @ logits)
        weights = after.T @ (powers / powers.sum(1, keepdims=True))
        expected = np.stack([weights[h] @ v[b, :end, h // 2] for h in range(4)])
        np.testing.assert_allclose(got[b, t], expected, rtol=1e-5, atol=1e-6)


def test_it_starts_as_scaled_dot(qkv):
    variant = variants.get("talking_heads")
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    got = jax.jit(variant.attend)(params, *qkv)
    expected = jax.jit(variants.get("scaled_dot").attend)({}, *qkv)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_hidden_key_that_is_not_finite_leaves_the_mixtures_their_gradients(qkv, draw):
    params = {"logits": draw(4, 4), "weights": draw(4, 4)}
    attend, (q, k, v) = variants.get("talking_heads").attend, qkv
    seen = masks.Mask(lambda b, h, i, j: j < 4)

    @jax.jit
    @jax.grad
    def gradient(params, k, v):
        return (attend(params, q, k, v, Options(mask=seen)) ** 2).sum()

    got = gradient(params, k.at[:, 4].set(jnp.nan), v.at[:, 4].set(jnp.inf))
    jax.tree.map(np.testing.assert_array_equal, got, gradient(params, k, v))


def test_a_mask_of_single_heads_is_refused(qkv):
    variant = variants.get("talking_heads")
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    with pytest.raises(ValueError, match="`mask` of talking_heads must not depend on h"):
        variant.attend(params, *qkv, Options(mask=masks.Mask(lambda b, h, i, j: h > 0)))
