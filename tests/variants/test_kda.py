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


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def low_rank(own, x, h):
    return (x @ own["down"]) @ own["up"][:, h] + own["bias"][h]


def oracle(params, x, q, k, v):
    """Section 3 of arXiv:2510.26692, one position after another."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x, q, k, v = (np.asarray(a, np.float64) for a in (x, q, k, v))
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        at, state = h * k.shape[2] // q.shape[2], np.zeros((k.shape[-1], v.shape[-1]))
        heads = {"q": q[b, :, h], "k": k[b, :, at], "v": v[b, :, at]}
        for t in range(q.shape[1]):
            now = {name: silu(convolved(params, name, own, h, t)) for name, own in heads.items()}
            query, key = (now[n] / np.sqrt((now[n] ** 2).sum() + 1e-6) for n in ("q", "k"))
            beta = sigmoid(x[b, t] @ params["strength"][:, h])
            steps = np.log1p(np.exp(low_rank(params["decay"], x[b, t], h)))
            alpha = np.exp(-np.exp(params["log_rate"][h]) * steps)
            moves = (np.eye(len(key)) - beta * np.outer(key, key)) @ np.diag(alpha)
            state = moves @ state + beta * np.outer(key, now["v"])
            row = state.T @ query
            gate = sigmoid(low_rank(params["gate"], x[b, t], h)[: len(row)])
            out[b, t, h] = gate * row / np.sqrt((row**2).mean() + 1e-5)
    return out


def convolved(params, name, x, h, t):
    if "taps" not in params:
        return x[t]
    taps = params["taps"][name][h]
    return sum(taps[lag, : x.shape[1]] * x[t - lag] for lag in range(min(len(taps), t + 1)))


def made(x, **options):
    variant = variants.get("kda", **options)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8, width=x.shape[-1])
    run = jax.jit(
        lambda params, x, *qkv: variant.attend(
            params, *qkv, CAUSAL, features=variant.features(params, x)
        )
    )
    return variant, params, run


@pytest.mark.sampled(1)
@pytest.mark.parametrize("options", [{}, {"convolution": None, "rank": 3}])
def test_matches_the_equations(draw, qkv, options):
    x = draw(2, 5, 12)
    _, params, run = made(x, **options)
    np.testing.assert_allclose(run(params, x, *qkv), oracle(params, x, *qkv), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_more_than_three_chunks_match_too(draw):
    x, qkv = draw(1, 113, 12), (draw(1, 113, 4, 8), draw(1, 113, 2, 8), draw(1, 113, 2, 6))
    _, params, run = made(x)
    np.testing.assert_allclose(run(params, x, *qkv), oracle(params, x, *qkv), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("strong", [30.0, 1e4])
def test_strong_decay_leaves_values_and_gradients_finite(draw, qkv, strong):
    x = draw(2, 5, 12)
    _, params, run = made(x)
    params["log_rate"] = jnp.full(4, np.log(strong))
    params["decay"]["bias"] = jnp.full((4, 8), -20.0).at[:, :4].set(3.0)
    loss = jax.jit(jax.value_and_grad(lambda *a: (run(*a) ** 3).sum(), (0, 1, 2, 3, 4)))
    for leaf in jax.tree.leaves(loss(params, x, *qkv)):
        assert jnp.isfinite(leaf).all()


def test_decays_start_as_those_of_the_authors(draw):
    variant, params, _ = made(draw(2, 5, 12))
    steps = jax.nn.softplus(params["decay"]["bias"])
    assert (steps > 0.0009).all() and (steps < 0.11).all()
    decays = variant.features(params, draw(2, 5, 12))["log_decay"]
    assert decays.shape == (2, 5, 4, 8) and (decays < 0).all()


def test_bad_options_are_refused(users_errors):
    with pytest.raises(ValueError, match="`rank` must be .*; got 0. Use None"):
        variants.get("kda", rank=0)
    with pytest.raises(ValueError, match="`convolution` must be .*; got 0. Use None"):
        variants.get("kda", convolution=0)
