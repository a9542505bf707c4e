import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(q, k, v, causal):
    """Weights of single pairs: the Taylor series of arXiv:2402.18668."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(out.shape[:-1]):
        end, at = (t + 1 if causal else k.shape[1]), h * k.shape[2] // q.shape[2]
        x = k[b, :end, at] @ q[b, t, h] / np.sqrt(q.shape[-1])
        weights = 1 + x + x**2 / 2
        out[b, t, h] = weights @ v[b, :end, at] / weights.sum()
    return out


@pytest.mark.parametrize("causal", [False, True])
def test_matches_its_equation(qkv, causal):
    mask = masks.causal if causal else None
    got = jax.jit(lambda *x: variants.get("based").attend({}, *x, Options(mask=mask)))(*qkv)
    np.testing.assert_allclose(got, oracle(*qkv, causal), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_more_than_three_chunks_match_too(draw):
    qkv = draw(1, 213, 4, 8), draw(1, 213, 2, 8), draw(1, 213, 2, 6)
    got = jax.jit(lambda *x: variants.get("based").attend({}, *x, Options(mask=masks.causal)))(*qkv)
    np.testing.assert_allclose(got, oracle(*qkv, True), rtol=1e-5, atol=1e-6)


def test_small_scores_make_it_the_softmax(qkv):
    q, k, v = qkv
    got = jax.jit(variants.get("based").attend)({}, 1e-3 * q, k, v)
    expected = jax.jit(variants.get("scaled_dot").attend)({}, 1e-3 * q, k, v)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_the_state_holds_a_sum_for_each_feature():
    sizes = {"heads": 4, "kv_heads": 2, "head_width": 8, "value_width": 6, "dtype": jnp.float32}
    assert variants.get("based").start({}, 3, 5, **sizes).sums.shape == (3, 2, 45, 7)
