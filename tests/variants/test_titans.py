import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.variants._builders import chunked_scan, momentum_scan
from tests.support import pieces

CAUSAL = Options(mask=masks.causal)
SIZES = {"heads": 4, "kv_heads": 2, "head_width": 8}


def silu(x):
    return x / (1 + np.exp(-x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def oracle(params, x, q, k, v, *, batch=1, hidden=()):
    """Section 3.1 of arXiv:2501.00663; its gradient is 2 k (M^T k - v)^T."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x, q, k, v = (np.asarray(a, np.float64) for a in (x, q, k, v))
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        at = h * k.shape[2] // q.shape[2]
        heads = {"q": q[b, :, h], "k": k[b, :, at], "v": v[b, :, at]}
        memory = momentum = np.zeros((k.shape[-1], v.shape[-1]))
        for t in range(q.shape[1]):
            now = {n: silu(convolved(params, n, a, h, t, hidden)) for n, a in heads.items()}
            query, key = (now[n] / np.sqrt((now[n] ** 2).sum() + 1e-6) for n in ("q", "k"))
            alpha, eta, theta = (
                gate(params[n], x[b, t], h) for n in ("forget", "momentum", "rate")
            )
            if t % batch == 0:
                before = memory
            if t not in hidden:
                gradient = 2 * np.outer(key, before.T @ key - now["v"])
                momentum = eta * momentum - theta * gradient
                memory = (1 - alpha) * memory + momentum
            row = memory.T @ query
            row = row / np.sqrt((row**2).mean() + 1e-5)
            out[b, t, h] = silu(x[b, t] @ params["gate"]["weights"][:, h])[: len(row)] * row
    return out


def gate(own, x, h):
    return sigmoid(x @ own["weights"][:, h] + own["bias"][h])


def convolved(params, name, x, h, t, hidden):
    if "taps" not in params:
        return x[t] * (t not in hidden or name == "q")
    taps, shown = params["taps"][name][h], [s not in hidden for s in range(len(x))]
    own = x[t] * (shown[t] or name == "q")
    earlier = range(1, min(len(taps), t + 1))
    rest = (taps[lag, : x.shape[1]] * x[t - lag] * shown[t - lag] for lag in earlier)
    return taps[0, : x.shape[1]] * own + sum(rest)


def made(x, **options):
    variant = variants.get("titans", **options)
    params = variant.init(jax.random.key(0), width=x.shape[-1], **SIZES)
    run = jax.jit(
        lambda params, x, *qkv, options=CAUSAL: variant.attend(
            params, *qkv, options, features=variant.features(params, x)
        ),
        static_argnames="options",
    )
    return variant, params, run


@pytest.mark.sampled(1)
@pytest.mark.parametrize("options", [{}, {"batch": 2}, {"convolution": None}])
def test_matches_the_equations(draw, qkv, options):
    x = draw(2, 5, 12)
    _, params, run = made(x, **options)
    expected = oracle(params, x, *qkv, batch=options.get("batch", 1))
    np.testing.assert_allclose(run(params, x, *qkv), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [None, 16])
def test_more_than_three_chunks_match_too(draw, batch):
    """With a memory that lasts, and much momentum."""
    x, qkv = draw(1, 113, 12), (draw(1, 113, 4, 8), draw(1, 113, 2, 8), draw(1, 113, 2, 6))
    _, params, run = made(x, batch=batch)
    params["momentum"]["bias"] = jnp.full(4, 1.0)
    params["rate"]["bias"] = jnp.full(4, -4.0)
    expected = oracle(params, x, *qkv, batch=batch or 1)
    np.testing.assert_allclose(run(params, x, *qkv), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_hidden_positions_change_nothing(draw, qkv):
    x = draw(2, 5, 12)
    _, params, run = made(x)
    shown = masks.keys(jnp.asarray([[True, False, True, False, True]] * 2))
    got = run(params, x, *qkv, options=Options(mask=masks.causal & shown))
    expected = oracle(params, x, *qkv, hidden=(1, 3))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_steps_match_over_batches_of_which_the_last_is_not_full(draw):
    x, qkv = draw(2, 11, 12), (draw(2, 11, 4, 8), draw(2, 11, 2, 8), draw(2, 11, 2, 6))
    variant, params, run = made(x, batch=4)
    expected, features = run(params, x, *qkv), variant.features(params, x)
    state = variant.start(params, 2, 11, **SIZES, value_width=6, dtype=jnp.float32)
    step = jax.jit(variant.step)
    for t in range(11):
        own = jax.tree.map(lambda a, t=t: a[:, t], features)
        state, out = step(params, state, *(a[:, t] for a in qkv), features=own)
        np.testing.assert_allclose(out, expected[:, t], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_without_momentum_and_forgetting_it_is_the_delta_rule(draw):
    q, k, v = draw(1, 70, 2, 8), draw(1, 70, 2, 8) / 3, draw(1, 70, 2, 6)
    rate, zeros = jax.nn.sigmoid(draw(1, 70, 2)), jnp.zeros((1, 70, 2))
    _, got = momentum_scan.momentum_scan(q, k, v, rate, zeros, zeros - 1e4, zeros + 1)
    _, expected = chunked_scan.delta_scan(q, k, v, 2 * rate)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("strong", [30.0, 1e4])
def test_strong_decay_leaves_values_and_gradients_finite(draw, qkv, strong, batch):
    x = draw(2, 5, 12)
    _, params, run = made(x, batch=batch)
    params["forget"]["bias"] = jnp.asarray([strong, -strong, strong, 0])
    params["momentum"]["bias"] = jnp.asarray([-strong, strong, strong, 0])
    loss = jax.jit(jax.value_and_grad(lambda *a: (run(*a) ** 3).sum(), (0, 1, 2, 3, 4)))
    for leaf in jax.tree.leaves(loss(params, x, *qkv)):
        assert jnp.isfinite(leaf).all()


@pytest.mark.slow
@pytest.mark.parametrize("batch", [None, 6])
def test_pieces_match_the_equations(draw, batch):
    """From a state on, where two sequences are at positions of their own."""
    x, qkv = pieces.inputs(draw, 75)
    variant, params, _ = made(x, batch=batch)
    got = pieces.in_pieces(variant, params, x, qkv, (5, 6, 46))
    expected = oracle(params, x, *qkv, batch=batch or 1)
    late = 5
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(got[1, :-late], expected[1, :-late], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [None, 6])
def test_packed_documents_match_the_equations(draw, batch):
    """Each of them as it is alone."""
    x, qkv = pieces.inputs(draw, 75)
    variant, params, _ = made(x, batch=batch)
    lengths = ([7, 1, 40, 27], [75])
    got = pieces.of_documents(variant, params, x, qkv, lengths)
    expected = pieces.by_documents(
        lambda *own: oracle(params, *own, batch=batch or 1), x, qkv, lengths
    )
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


def test_bad_options_are_refused(users_errors):
    with pytest.raises(ValueError, match="`batch` must be .*; got 0. Use None"):
        variants.get("titans", batch=0)
    with pytest.raises(ValueError, match="`convolution` must be .*; got 0. Use None"):
        variants.get("titans", convolution=0)
