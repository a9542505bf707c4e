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


def oracle(params, x, q, k, v, most=2.0):
    """Section 4 of arXiv:2502.10297: one step after another, the query after the last."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x, q, k, v = (np.asarray(a, np.float64) for a in (x, q, k, v))
    count, out = params["strength"].shape[-1], np.zeros((*q.shape[:3], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        at, state = h * k.shape[2] // q.shape[2], np.zeros((k.shape[-1], v.shape[-1]))
        keys, values = [k[b, :, at]], [v[b, :, at]]
        for n in range(count - 1):
            keys.append(x[b] @ params["keys"][:, h, n])
            values.append(x[b] @ params["values"][:, h, n, : v.shape[-1]])
        for t in range(q.shape[1]):
            query = unit(silu(convolved(params, "q", q[b, :, h], h, t)))
            if "decay" in params:
                step = np.log1p(np.exp(x[b, t] @ params["decay"][:, h] + params["bias"][h]))
                state = np.exp(-np.exp(params["log_rate"][h]) * step) * state
            for n in range(count):
                key = unit(silu(convolved(params, "k", keys[n], h * count + n, t)))
                value = silu(convolved(params, "v", values[n], h * count + n, t))
                beta = most / (1 + np.exp(-x[b, t] @ params["strength"][:, h, n]))
                state = state + beta * np.outer(key, value - state.T @ key)
            row = state.T @ query
            gate = silu(x[b, t] @ params["gate"][:, h, : len(row)])
            out[b, t, h] = gate * row / np.sqrt((row**2).mean() + 1e-5)
    return out


def unit(x):
    return x / np.sqrt((x**2).sum() + 1e-6)


def convolved(params, name, x, h, t):
    if "taps" not in params:
        return x[t]
    taps = params["taps"][name][h]
    return sum(taps[lag, : x.shape[1]] * x[t - lag] for lag in range(min(len(taps), t + 1)))


def made(x, **options):
    variant = variants.get("delta_product", **options)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8, width=x.shape[-1])
    run = jax.jit(
        lambda params, x, *qkv: variant.attend(
            params, *qkv, CAUSAL, features=variant.features(params, x)
        )
    )
    return variant, params, run


OPTIONS = (
    {},
    {"steps": 3, "gated": True},
    {"steps": 1, "convolution": None},
    {"convolution": None, "negative": False},
)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_matches_the_steps(draw, qkv, options):
    x = draw(2, 5, 12)
    _, params, run = made(x, **options)
    expected = oracle(params, x, *qkv, 2.0 if options.get("negative", True) else 1.0)
    np.testing.assert_allclose(run(params, x, *qkv), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_more_than_three_chunks_match_too(draw):
    x, qkv = draw(1, 113, 12), (draw(1, 113, 4, 8), draw(1, 113, 2, 8), draw(1, 113, 2, 6))
    _, params, run = made(x, gated=True)
    np.testing.assert_allclose(run(params, x, *qkv), oracle(params, x, *qkv), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("strong", [30.0, 1e4])
def test_strong_decay_leaves_values_and_gradients_finite(draw, qkv, strong):
    x = draw(2, 5, 12)
    _, params, run = made(x, gated=True)
    params["log_rate"], params["bias"] = jnp.full(4, np.log(strong)), jnp.full(4, 3.0)
    loss = jax.jit(jax.value_and_grad(lambda *a: (run(*a) ** 3).sum(), (0, 1, 2, 3, 4)))
    for leaf in jax.tree.leaves(loss(params, x, *qkv)):
        assert jnp.isfinite(leaf).all()


@pytest.mark.slow
def test_two_full_steps_turn_what_the_state_holds():
    """Two reflections are a rotation: of a quarter, from (1, 0) to (0, 1), then to (-1, 0)."""
    rule = variants.get("delta_product", convolution=None, normalize=False)
    params = rule.init(jax.random.key(0), heads=1, kv_heads=1, head_width=2, width=2)
    x = jnp.zeros((1, 3, 2))
    features = rule.features(params, x)
    half = np.sqrt(0.5)
    # SiLU goes before, so vectors are those that it takes to the wanted ones.
    axis, between, bare = (1.0, 0.0), (half, half), (0.0, 0.0)
    features |= {
        "strength": jnp.array([[[[1.0, 0.0]], [[2.0, 2.0]], [[2.0, 2.0]]]]),
        "keys": inverse([[[[between]], [[between]], [[between]]]]).reshape(1, 3, 1, 1, 2),
        "values": jnp.zeros((1, 3, 1, 1, 2)),
        "gate": inverse(jnp.ones((1, 3, 1, 2))),
    }
    k = inverse([[[axis], [axis], [axis]]])
    v = inverse([[[(1.0, 1.0)], [bare], [bare]]])
    q = inverse([[[axis], [between], [axis]]])
    out = rule.attend(params, q, k, v, CAUSAL, features=features)[0, :, 0, 0]
    # After one turn it is along (0, 1), after two along (-1, 0).
    np.testing.assert_allclose(np.abs(out), [1.0, half, 1.0], rtol=1e-4)
    assert out[0] > 0 > out[2]


def inverse(wanted):
    """What SiLU takes to these numbers, none of which is below 0."""
    wanted = np.asarray(wanted, np.float64)
    low, high = np.zeros_like(wanted), wanted + 2.0
    for _ in range(60):
        middle = (low + high) / 2
        below = silu(middle) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return jnp.asarray(low, jnp.float32)


def test_bad_options_are_refused(users_errors):
    with pytest.raises(ValueError, match="`steps` must be .*; got 0"):
        variants.get("delta_product", steps=0)
    with pytest.raises(ValueError, match="`convolution` must be .*; got 0. Use None"):
        variants.get("delta_product", convolution=0)
