import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options

CAUSAL = Options(mask=masks.causal)


def silu(x):
    return x / (1 + np.exp(-x))


def oracle(params, x, q, k, v):
    """Section 7 of arXiv:2405.21060: one position after another, then norm(silu(z) y)."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x, q, k, v = (np.asarray(a, np.float64) for a in (x, q, k, v))
    y = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        at, state = h * k.shape[2] // q.shape[2], np.zeros((v.shape[-1], k.shape[-1]))
        heads = {"q": q[b, :, h], "k": k[b, :, at], "v": v[b, :, at]}
        for t in range(q.shape[1]):
            c, key, value = (convolved(params, name, own, h, t) for name, own in heads.items())
            step = np.log1p(np.exp(x[b, t] @ params["step"][:, h] + params["bias"][h]))
            state = np.exp(-step * np.exp(params["log_rate"][h])) * state
            state = state + step * np.outer(value, key)
            z = x[b, t] @ params["gate"][:, h, : len(value)]
            y[b, t, h] = silu(z) * (state @ c + params["skip"][h] * value)
    return y / np.sqrt((y**2).mean((2, 3), keepdims=True) + 1e-5)


def convolved(params, name, x, h, t):
    if "taps" in params:
        taps, width = params["taps"][name][h], x.shape[1]
        x = sum(taps[lag, :width] * x[t - lag] for lag in range(min(len(taps), t + 1)))
        return silu(x + params["shift"][name][h, :width])
    return silu(x[t])


def made(x, **options):
    variant = variants.get("mamba2", **options)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8, width=x.shape[-1])
    run = jax.jit(
        lambda params, x, *qkv: variant.attend(
            params, *qkv, CAUSAL, features=variant.features(params, x)
        )
    )
    return variant, params, run


@pytest.mark.parametrize("convolution", [4, None])
def test_matches_the_equations(draw, qkv, convolution):
    x = draw(2, 5, 12)
    _, params, run = made(x, convolution=convolution)
    np.testing.assert_allclose(run(params, x, *qkv), oracle(params, x, *qkv), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_more_than_three_chunks_match_too(draw):
    x, qkv = draw(1, 213, 12), (draw(1, 213, 4, 8), draw(1, 213, 2, 8), draw(1, 213, 2, 6))
    _, params, run = made(x)
    np.testing.assert_allclose(run(params, x, *qkv), oracle(params, x, *qkv), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("strong", [30.0, 1e4])
def test_strong_decay_leaves_values_and_gradients_finite(draw, qkv, strong):
    x = draw(2, 5, 12)
    _, params, run = made(x)
    params["log_rate"] = jnp.full(4, np.log(strong))
    params["bias"] = jnp.full(4, 3.0)
    loss = jax.jit(jax.value_and_grad(lambda *a: (run(*a) ** 3).sum(), (0, 1, 2, 3, 4)))
    for leaf in jax.tree.leaves(loss(params, x, *qkv)):
        assert jnp.isfinite(leaf).all()


@pytest.mark.slow
def test_a_hidden_key_does_not_let_the_state_fade(draw, qkv):
    x = draw(2, 5, 12)
    variant, params, run = made(x, convolution=None)
    visible = jnp.ones((2, 5), bool).at[:, 1:3].set(False)
    features = variant.features(params, x)
    options = Options(mask=masks.causal & masks.keys(visible))
    got = jax.jit(lambda *qkv: variant.attend(params, *qkv, options, features=features))(*qkv)
    kept = jnp.array([0, 3, 4])
    expected = run(params, *(a[:, kept] for a in (x, *qkv)))
    np.testing.assert_allclose(got[:, kept], expected, rtol=1e-5, atol=1e-6)


def test_bad_options_and_calls_without_the_input_are_refused(draw, qkv):
    variant, params, _ = made(draw(2, 5, 12))
    with pytest.raises(ValueError, match="`features` must be given"):
        variant.attend(params, *qkv, CAUSAL)
    with pytest.raises(ValueError, match="`convolution` must be .*; got 0. Use None"):
        variants.get("mamba2", convolution=0)
