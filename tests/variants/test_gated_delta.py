import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def silu(x):
    return x / (1 + np.exp(-x))


def oracle(params, q, k, v, normalize=True):
    """Equation 10 of arXiv:2412.06464, one position after another."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    gate, out = params["gate"], np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        at, state = h * k.shape[2] // q.shape[2], np.zeros((v.shape[-1], k.shape[-1]))
        heads = {"q": q[b, :, h], "k": k[b, :, at], "v": v[b, :, at]}
        for t in range(q.shape[1]):
            now = {name: silu(convolved(params, name, x, h, t)) for name, x in heads.items()}
            query, key = (now[x] / np.sqrt((now[x] ** 2).sum() + 1e-6) for x in ("q", "k"))
            beta = 1 / (1 + np.exp(-params["strength"][h] @ heads["k"][t]))
            step = np.log1p(np.exp(gate["weights"][h] @ heads["k"][t] + gate["bias"][h]))
            alpha = np.exp(-np.exp(gate["log_rate"][h]) * step)
            state = state @ (alpha * (np.eye(len(key)) - beta * np.outer(key, key)))
            state = state + beta * np.outer(now["v"], key)
            row = state @ query
            out[b, t, h] = row / np.sqrt((row**2).mean() + 1e-5) if normalize else row
    return out


def convolved(params, name, x, h, t):
    if "taps" not in params:
        return x[t]
    taps = params["taps"][name][h]
    return sum(taps[lag] * x[t - lag] for lag in range(min(len(taps), t + 1)))


def made(**options):
    variant = variants.get("gated_delta", **{"gates": "key"} | options)
    return variant, variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("convolution", [4, None])
@pytest.mark.parametrize("normalize", [True, False])
def test_matches_equation_10(qkv, convolution, normalize):
    variant, params = made(normalize=normalize, convolution=convolution)
    got = jax.jit(lambda *x: variant.attend(params, *x, Options(mask=masks.causal)))(*qkv)
    np.testing.assert_allclose(got, oracle(params, *qkv, normalize), rtol=1e-5, atol=1e-6)


def oracle_of_input(params, x, q, k, v):
    """The same with gates of the layer's input, taps for each channel, and an output gate."""
    q, k, v, x = (np.asarray(n, np.float64) for n in (q, k, v, x))
    params = jax.tree.map(lambda n: np.asarray(n, np.float64), params)
    own, out = params["inputs"], np.zeros((*q.shape[:-1], v.shape[-1]))
    taps = params["taps"] | {"v": params["taps"]["v"][..., : v.shape[-1]]}
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        at, state = h * k.shape[2] // q.shape[2], np.zeros((v.shape[-1], k.shape[-1]))
        heads = {"q": q[b, :, h], "k": k[b, :, at], "v": v[b, :, at]}
        for t in range(q.shape[1]):
            now = {n: silu(convolved({"taps": taps}, n, y, h, t)) for n, y in heads.items()}
            query, key = (now[n] / np.sqrt((now[n] ** 2).sum() + 1e-6) for n in ("q", "k"))
            beta = 1 / (1 + np.exp(-x[b, t] @ own["strength"][:, h]))
            step = np.log1p(np.exp(x[b, t] @ own["decay"][:, h] + own["bias"][h]))
            alpha = np.exp(-np.exp(own["log_rate"][h]) * step)
            state = state @ (alpha * (np.eye(len(key)) - beta * np.outer(key, key)))
            state = state + beta * np.outer(now["v"], key)
            row = state @ query
            gate = silu(x[b, t] @ own["gate"][:, h])[: v.shape[-1]]
            out[b, t, h] = gate * row / np.sqrt((row**2).mean() + 1e-5)
    return out


def test_gates_of_the_input_match_equation_10(qkv, draw):
    variant = variants.get("gated_delta", gates="input")
    params = variant.init(jax.random.key(0), width=12, heads=4, kv_heads=2, head_width=8)
    x = draw(2, 5, 12)

    def attend(x, *qkv):
        features = variant.features(params, x)
        return variant.attend(params, *qkv, Options(mask=masks.causal), features=features)

    expected = oracle_of_input(params, x, *qkv)
    np.testing.assert_allclose(jax.jit(attend)(x, *qkv), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_strong_decay_leaves_gradients_finite(draw):
    """A gate may let the state fade by a factor of e^-200 at one position, and to nothing."""
    variant = variants.get("gated_delta", gates="input")
    params = variant.init(jax.random.key(0), width=12, heads=4, kv_heads=2, head_width=8)
    params["inputs"]["log_rate"] = jnp.full(4, 5.0)
    x, qkv = draw(1, 70, 12), (draw(1, 70, 4, 8), draw(1, 70, 2, 8), draw(1, 70, 2, 8))

    def loss(params, x):
        features = variant.features(params, x)
        out = variant.attend(params, *qkv, Options(mask=masks.causal), features=features)
        return (out**2).sum()

    assert float(variant.features(params, x)["log_decay"].min()) < -100
    found = jax.jit(jax.grad(loss, (0, 1)))(params, x)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(found))


@pytest.mark.slow
def test_more_than_three_chunks_match_too(draw):
    variant, params = made(normalize=False)
    qkv = draw(1, 213, 4, 8), draw(1, 213, 2, 8), draw(1, 213, 2, 6)
    got = jax.jit(lambda *x: variant.attend(params, *x, Options(mask=masks.causal)))(*qkv)
    np.testing.assert_allclose(got, oracle(params, *qkv, False), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_without_forgetting_it_is_the_delta_rule(qkv):
    variant, params = made()
    params["gate"]["log_rate"] = jnp.full(4, -jnp.inf)
    got = jax.jit(lambda *x: variant.attend(params, *x, Options(mask=masks.causal)))(*qkv)
    plain = variants.get("delta").attend
    expected = jax.jit(lambda *x: plain(params, *x, Options(mask=masks.causal)))(*qkv)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_gates_start_nearly_open():
    _, params = made()
    steps = jax.nn.softplus(params["gate"]["bias"])
    assert (steps > 0.0009).all() and (steps < 0.11).all()


@pytest.mark.slow
def test_a_hidden_key_does_not_let_the_state_fade(qkv):
    variant, params = made(convolution=None)
    visible = jnp.ones((2, 5), bool).at[:, 1:3].set(False)
    mask = masks.causal & masks.keys(visible)
    got = jax.jit(lambda *x: variant.attend(params, *x, Options(mask=mask)))(*qkv)
    kept = tuple(x[:, jnp.array([0, 3, 4])] for x in qkv)
    expected = jax.jit(lambda *x: variant.attend(params, *x, Options(mask=masks.causal)))(*kept)
    np.testing.assert_allclose(got[:, jnp.array([0, 3, 4])], expected, rtol=1e-5, atol=1e-6)


def test_passes_both_ways_and_bad_options_are_refused(qkv):
    variant, params = made()
    with pytest.raises(ValueError, match="gated_delta takes in one .* must hold `masks.causal`"):
        variant.attend(params, *qkv)
    with pytest.raises(ValueError, match="`gates` must be one of .*'input', 'key'"):
        variants.get("gated_delta", gates="x")
    with pytest.raises(ValueError, match="`convolution` must be .*; got 0. Use None"):
        variants.get("gated_delta", convolution=0)
