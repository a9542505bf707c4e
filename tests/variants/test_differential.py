import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks, numerics
from attention_jax.core.types import Options

VECTORS = ("a1", "b1", "a2", "b2")


def oracle(params, q, k, v, initial, kept=None):
    """Equations 1 to 3 of arXiv:2410.05258; `kept` [b h t s] scales both weights of a pair."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    a1, b1, a2, b2 = (np.asarray(params[name], np.float64) for name in VECTORS)
    ratio = np.exp(a1 @ b1) - np.exp(a2 @ b2) + initial
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(q.shape[:-1]):
        maps = []
        for half in (slice(4), slice(4, 8)):
            powers = np.exp(k[b, :, h // 2, half] @ q[b, t, h, half] / 2)
            maps.append(powers / powers.sum())
        weights = maps[0] - ratio * maps[1]
        if kept is not None:
            weights = weights * kept[b, h, t]
        row = weights @ v[b, :, h // 2]
        out[b, t, h] = (1 - initial) * row / np.sqrt((row**2).mean() + 1e-5)
    return out


@pytest.mark.parametrize("initial", [0.8, 0.2])
def test_matches_its_equations(qkv, draw, initial):
    params = {name: 0.3 * draw(4) for name in VECTORS}
    attend = jax.jit(variants.get("differential", initial=initial).attend)
    got, expected = attend(params, *qkv), oracle(params, *qkv, initial)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_dropout_takes_a_pair_from_both_softmaxes(qkv, draw):
    params, key = {name: 0.3 * draw(4) for name in VECTORS}, jax.random.key(3)
    attend = variants.get("differential").attend
    got = jax.jit(lambda *x: attend(params, *x, Options(dropout_rate=0.4, dropout_key=key)))(*qkv)
    at = jnp.ix_(*(jnp.arange(n) for n in (2, 4, 5, 5)))
    kept = np.asarray(numerics.kept_pairs(key, 0.4, at)) / 0.6
    np.testing.assert_allclose(got, oracle(params, *qkv, 0.8, kept), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_without_the_second_softmax_it_is_a_normalized_scaled_dot(qkv):
    zeros = {name: np.zeros(4, np.float32) for name in VECTORS}
    q, k, v = qkv
    got = jax.jit(variants.get("differential", initial=0.0).attend)(zeros, q, k, v)
    out = jax.jit(variants.get("scaled_dot").attend)({}, q[..., :4], k[..., :4], v)
    expected = out / np.sqrt((out**2).mean(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_what_it_cannot_give_is_refused(qkv):
    variant = variants.get("differential")
    with pytest.raises(ValueError, match="`initial` must be a Python number in .*; got 1.0"):
        variants.get("differential", initial=1.0)
    with pytest.raises(ValueError, match="must be even, .*; got 7. The nearest below is 6"):
        variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=7)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    with pytest.raises(ValueError, match="`return_lse` must be False.*; got True"):
        variant.attend(params, *qkv, Options(mask=masks.causal, return_lse=True))
