import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def test_matches_its_equation(qkv, draw):
    w = draw(4, 8)
    got = jax.jit(variants.get("gated", gates="query").attend)({"w": w}, *qkv)
    q, k, v, w = (np.asarray(x, np.float64) for x in (*qkv, w))
    for b, t, h in np.ndindex(got.shape[:-1]):
        weights = np.exp(k[b, :, h // 2] @ q[b, t, h] / np.sqrt(8))
        gate = 1 / (1 + np.exp(-w[h] @ q[b, t, h]))
        expected = gate * (weights @ v[b, :, h // 2]) / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_gates_of_the_input_match_their_equation(qkv, draw):
    variant = variants.get("gated", gates="input")
    params = variant.init(jax.random.key(0), width=12, heads=4, kv_heads=2, head_width=8)
    x = draw(2, 5, 12)
    got = jax.jit(
        lambda x, *qkv: variant.attend(params, *qkv, features=variant.features(params, x))
    )(x, *qkv)
    q, k, v, x, w = (np.asarray(n, np.float64) for n in (*qkv, x, params["w"]))
    for b, t, h in np.ndindex(got.shape[:-1]):
        weights = np.exp(k[b, :, h // 2] @ q[b, t, h] / np.sqrt(8))
        gate = 1 / (1 + np.exp(-(x[b, t] @ w[:, h, :6])))
        expected = gate * (weights @ v[b, :, h // 2]) / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_a_gate_of_zeros_is_half_open(qkv):
    got = jax.jit(variants.get("gated", gates="query").attend)({"w": jnp.zeros((4, 8))}, *qkv)
    expected = jax.jit(variants.get("scaled_dot").attend)({}, *qkv)
    np.testing.assert_allclose(2 * got, expected, rtol=1e-6)


@pytest.mark.slow
def test_the_log_sum_exp_is_that_of_the_softmax(qkv, draw):
    gated, plain = (variants.resolve(x).attend for x in ("gated(gates='query')", "scaled_dot"))
    w = {"w": draw(4, 8)}
    out, lse = jax.jit(lambda *qkv: gated(w, *qkv, Options(return_lse=True)))(*qkv)
    _, expected = jax.jit(lambda *qkv: plain({}, *qkv, Options(return_lse=True)))(*qkv)
    np.testing.assert_allclose(lse, expected, rtol=1e-6)
    np.testing.assert_allclose(out, jax.jit(gated)(w, *qkv), rtol=1e-6)


@pytest.mark.slow
def test_a_query_that_sees_nothing_gives_zero_whatever_it_is(qkv, draw):
    q, k, v = qkv
    hidden = masks.Mask(lambda b, h, i, j: i != 1)
    gated, w = variants.get("gated", gates="query").attend, {"w": draw(4, 8)}
    got = jax.jit(lambda *qkv: gated(w, *qkv, Options(mask=hidden)))(q.at[:, 1].set(jnp.nan), k, v)
    np.testing.assert_array_equal(got[:, 1], np.zeros((2, 4, 6)))
    assert jnp.isfinite(got).all()
