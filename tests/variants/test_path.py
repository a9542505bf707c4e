import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from tests.support import pieces

CAUSAL = Options(mask=masks.causal)


def oracle(params, x, q, k, v, hidden=()):
    """Section 2 of arXiv:2505.16381: for each pair, the product of all maps between."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x, q, k, v = (np.asarray(a, np.float64) for a in (x, q, k, v))
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        at = h * k.shape[2] // q.shape[2]
        maps = [householder(params, x[b], at, t, hidden) for t in range(q.shape[1])]
        for i in range(q.shape[1]):
            product, logits = np.eye(q.shape[-1]), {}
            for j in range(i, -1, -1):
                if j not in hidden:
                    logits[j] = q[b, i, h] @ product @ k[b, j, at] / np.sqrt(q.shape[-1])
                product = product @ maps[j]
            if logits:
                weights = np.exp(list(logits.values()))
                out[b, i, h] = weights @ v[b, list(logits), at] / weights.sum()
    return out


def householder(params, x, g, t, hidden):
    if t in hidden:
        return np.eye(params["up"].shape[-1])
    direction = {s: x[s] @ params["down"] @ params["up"][:, g] for s in range(t + 1)}
    w = direction[t]
    if "taps" in params:
        taps = params["taps"][g]
        reach = (lag for lag in range(min(len(taps), t + 1)) if t - lag not in hidden)
        w = sum(taps[lag] * direction[t - lag] for lag in reach)
    w = w / np.sqrt((w**2).sum() + 1e-6)
    beta = 2 / (1 + np.exp(-(x[t] @ params["strength"][:, g] + params["bias"][g])))
    return np.eye(len(w)) - beta * np.outer(w, w)


def made(x, **options):
    variant = variants.get("path", **options)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8, width=x.shape[-1])
    run = jax.jit(
        lambda params, x, *qkv, options=CAUSAL: variant.attend(
            params, *qkv, options, features=variant.features(params, x)
        ),
        static_argnames="options",
    )
    return variant, params, run


@pytest.mark.sampled(1)
@pytest.mark.parametrize("options", [{}, {"convolution": None, "rank": 3}])
def test_matches_the_equations(draw, qkv, options):
    x = draw(2, 5, 12)
    _, params, run = made(x, **options)
    np.testing.assert_allclose(run(params, x, *qkv), oracle(params, x, *qkv), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_hidden_positions_move_nothing(draw, qkv):
    x = draw(2, 5, 12)
    _, params, run = made(x)
    shown = masks.keys(jnp.asarray([[False, True, False, True, True]] * 2))
    got = run(params, x, *qkv, options=Options(mask=masks.causal & shown))
    expected = oracle(params, x, *qkv, hidden=(0, 2))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_more_than_two_chunks_match_too(draw):
    """With reflections, by which nothing is lost of keys that are far."""
    x, qkv = draw(1, 150, 12), (draw(1, 150, 4, 8), draw(1, 150, 2, 8), draw(1, 150, 2, 6))
    _, params, run = made(x)
    params["bias"] = params["bias"] + 30.0
    np.testing.assert_allclose(run(params, x, *qkv), oracle(params, x, *qkv), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("bias", [-1e4, 1e4])
def test_maps_at_their_limits_leave_gradients_finite(draw, qkv, bias):
    x = draw(2, 5, 12)
    _, params, run = made(x)
    params["bias"] = params["bias"] + bias
    loss = jax.jit(jax.value_and_grad(lambda *a: (run(*a) ** 3).sum(), (0, 1, 2, 3, 4)))
    for leaf in jax.tree.leaves(loss(params, 100 * x, *qkv)):
        assert jnp.isfinite(leaf).all()


@pytest.mark.slow
def test_without_strength_it_is_the_scaled_dot_product(draw, qkv):
    x = draw(2, 5, 12)
    _, params, run = made(x)
    params["bias"] = params["bias"] - 1e4
    expected = variants.get("scaled_dot").attend({}, *qkv, CAUSAL)
    np.testing.assert_allclose(run(params, x, *qkv), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_dropout_keeps_the_mean(draw, qkv):
    x = draw(2, 5, 12)
    variant, params, run = made(x)
    features = variant.features(params, x)

    def drawn(key):
        options = CAUSAL._replace(dropout_rate=0.4, dropout_key=key)
        return variant.attend(params, *qkv, options, features=features)

    mean = jax.jit(jax.vmap(drawn))(jax.random.split(jax.random.key(1), 4000)).mean(0)
    np.testing.assert_allclose(mean, run(params, x, *qkv), atol=0.15)


@pytest.mark.slow
def test_a_step_without_room_is_not_a_number(draw, qkv):
    x = draw(2, 5, 12)
    variant, params, _ = made(x)
    sizes = {"heads": 4, "kv_heads": 2, "head_width": 8, "value_width": 6, "dtype": jnp.float32}
    state, step = variant.start(params, 2, 1, **sizes), jax.jit(variant.step)
    for t in range(2):
        own = jax.tree.map(lambda a, t=t: a[:, t], variant.features(params, x))
        state, out = step(params, state, *(a[:, t] for a in qkv), features=own)
        assert jnp.isnan(out).all() == (t == 1)


@pytest.mark.slow
def test_pieces_match_the_equations(draw):
    """From a state on, where two sequences are at positions of their own."""
    x, qkv = pieces.inputs(draw, 75)
    variant, params, _ = made(x)
    got = pieces.in_pieces(variant, params, x, qkv, (5, 6, 73))
    expected = oracle(params, x, *qkv)
    late = 5
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(got[1, :-late], expected[1, :-late], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_packed_documents_match_the_equations(draw):
    """Each of them as it is alone."""
    x, qkv = pieces.inputs(draw, 75)
    variant, params, _ = made(x)
    lengths = ([7, 1, 40, 27], [2, 73])
    got = pieces.of_documents(variant, params, x, qkv, lengths)
    expected = pieces.by_documents(lambda *own: oracle(params, *own), x, qkv, lengths)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


def test_bad_options_are_refused(users_errors):
    with pytest.raises(ValueError, match="`rank` must be .*; got 0"):
        variants.get("path", rank=0)
    with pytest.raises(ValueError, match="`convolution` must be .*; got 0. Use None"):
        variants.get("path", convolution=0)
