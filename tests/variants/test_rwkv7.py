import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options

CAUSAL = Options(mask=masks.causal)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def oracle(params, x, q, k, v):
    """Section 4 of arXiv:2503.14456, with states and row vectors as it has them."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x, q, k, v = (np.asarray(a, np.float64) for a in (x, q, k, v))
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        at, state = h * k.shape[2] // q.shape[2], np.zeros((v.shape[-1], k.shape[-1]))
        for t in range(q.shape[1]):
            own, r, key, value = x[b, t], q[b, t, h], k[b, t, at], v[b, t, at]
            decay = np.tanh(own @ p["decay"]["down"]) @ p["decay"]["up"][:, h]
            w = np.exp(-np.exp(-0.5) * sigmoid(decay + p["decay"]["bias"][h]))
            rate = own @ p["rate"]["down"] @ p["rate"]["up"][:, h] + p["rate"]["bias"][h]
            a, kappa = sigmoid(rate), p["erase"][h] * key
            kappa = kappa / np.sqrt((kappa**2).sum() + 1e-6)
            key = key * (1 + (a - 1) * p["renew"][h])
            moves = np.diag(w) - np.outer(kappa, a * kappa)
            state = state @ moves + np.outer(value, key)
            row = state @ r
            row = row - row.mean()
            row = p["scale"][h, : len(row)] * row / np.sqrt((row**2).mean() + 1e-5)
            gate = sigmoid(own @ p["gate"]["down"]) @ p["gate"]["up"][:, h, : len(row)]
            out[b, t, h] = gate * (row + (r * p["bonus"][h] * key).sum() * value)
    return out


def made(x, **options):
    variant = variants.get("rwkv7", **options)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8, width=x.shape[-1])
    run = jax.jit(
        lambda params, x, *qkv: variant.attend(
            params, *qkv, CAUSAL, features=variant.features(params, x)
        )
    )
    return variant, params, run


def test_matches_the_equations(draw, qkv):
    x = draw(2, 5, 12)
    _, params, run = made(x, rank=3)
    params = jax.tree.map(lambda x: x + 0.1, params)
    np.testing.assert_allclose(run(params, x, *qkv), oracle(params, x, *qkv), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_more_than_three_chunks_match_too(draw):
    x, qkv = draw(1, 113, 12), (draw(1, 113, 4, 8), draw(1, 113, 2, 8), draw(1, 113, 2, 6))
    _, params, run = made(x)
    np.testing.assert_allclose(run(params, x, *qkv), oracle(params, x, *qkv), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("bias", [-100.0, 100.0])
def test_the_ends_of_its_gates_leave_values_and_gradients_finite(draw, qkv, bias):
    x = draw(2, 5, 12)
    variant, params, run = made(x)
    params["decay"]["bias"] = jnp.full((4, 8), bias)
    params["rate"]["bias"] = jnp.full((4, 8), bias)
    assert variant.features(params, x)["log_decay"].min() >= -np.exp(-0.5) - 1e-6
    loss = jax.jit(jax.value_and_grad(lambda *a: (run(*a) ** 3).sum(), (0, 1, 2, 3, 4)))
    for leaf in jax.tree.leaves(loss(params, x, *qkv)):
        assert jnp.isfinite(leaf).all()


@pytest.mark.slow
def test_a_hidden_position_leaves_the_state_as_it_is(draw, qkv):
    x = draw(2, 5, 12)
    variant, params, run = made(x)
    visible = jnp.ones((2, 5), bool).at[:, 1:3].set(False)
    features = variant.features(params, x)
    options = Options(mask=masks.causal & masks.keys(visible))
    got = jax.jit(lambda *qkv: variant.attend(params, *qkv, options, features=features))(*qkv)
    kept = jnp.array([0, 3, 4])
    expected = run(params, *(a[:, kept] for a in (x, *qkv)))
    np.testing.assert_allclose(got[:, kept], expected, rtol=1e-5, atol=1e-6)


def test_bad_options_are_refused(users_errors):
    with pytest.raises(ValueError, match="`rank` must be .*; got 0"):
        variants.get("rwkv7", rank=0)
