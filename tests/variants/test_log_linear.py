import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.variants._builders import fenwick
from tests.support import pieces

CAUSAL = Options(mask=masks.causal)


def silu(x):
    return x / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def tree(t):
    """Section 3.1 of arXiv:2506.04761: the last power of two that divides is taken off."""
    found, end = {0: range(t, t + 1)}, t
    while end:
        size = end & -end
        found[int(np.log2(size)) + 1] = range(end - size, end)
        end -= size
    return found


def oracle(params, x, q, k, v, hidden=()):
    """Equation 4 of arXiv:2506.04761 over the sums of Mamba-2, one position after another."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x, q, k, v = (np.asarray(a, np.float64) for a in (x, q, k, v))
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        at = h * k.shape[2] // q.shape[2]
        heads = {"q": q[b, :, h], "k": k[b, :, at], "v": v[b, :, at]}
        heads = {name: mixed(params, name, own, h, hidden) for name, own in heads.items()}
        steps = softplus(x[b] @ params["step"][:, h] + params["bias"][h])
        for j in hidden:
            steps[j], heads["v"][j] = 0, 0
        weights = softplus(params["scale"][h] * (x[b] @ params["weights"][:, h]))
        for t in range(q.shape[1]):
            y = params["skip"][h] * heads["v"][t]
            for level, piece in tree(t).items():
                for j in piece:
                    decay = np.exp(-np.exp(params["log_rate"][h]) * steps[j + 1 : t + 1].sum())
                    write = steps[j] * np.outer(heads["k"][j], heads["v"][j])
                    y = y + weights[t, level] * decay * heads["q"][t] @ write
            out[b, t, h] = silu(x[b, t] @ params["gate"][:, h])[: len(y)] * y
    return out / np.sqrt((out**2).mean((2, 3), keepdims=True) + 1e-5)


def mixed(params, name, x, h, hidden):
    """After the convolution, of which later positions see nothing of a hidden one."""
    taps, shift = (params[part][name][h] for part in ("taps", "shift"))
    seen = np.where(np.isin(np.arange(len(x)), hidden)[:, None], 0, x)
    now = x if name == "q" else seen
    rows = [
        taps[0, : x.shape[1]] * now[t]
        + sum(taps[lag, : x.shape[1]] * seen[t - lag] for lag in range(1, min(len(taps), t + 1)))
        for t in range(len(x))
    ]
    return silu(np.asarray(rows) + shift[: x.shape[1]])


def made(x, **options):
    variant = variants.get("log_linear", **options)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8, width=x.shape[-1])
    run = jax.jit(
        lambda params, x, *qkv, options=CAUSAL: variant.attend(
            params, *qkv, options, features=variant.features(params, x)
        ),
        static_argnames="options",
    )
    return variant, params, run


def test_matches_the_equations(draw, qkv):
    x = draw(2, 5, 12)
    _, params, run = made(x)
    np.testing.assert_allclose(run(params, x, *qkv), oracle(params, x, *qkv), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_hidden_positions_keep_their_place_alone(draw, qkv):
    x = draw(2, 5, 12)
    _, params, run = made(x)
    shown = masks.keys(jnp.asarray([[False, True, True, False, True]] * 2))
    got = run(params, x, *qkv, options=Options(mask=masks.causal & shown))
    expected = oracle(params, x, *qkv, hidden=(0, 3))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_seven_chunks_match_too(draw):
    x, qkv = draw(1, 200, 12), (draw(1, 200, 4, 8), draw(1, 200, 2, 8), draw(1, 200, 2, 6))
    _, params, run = made(x)
    np.testing.assert_allclose(run(params, x, *qkv), oracle(params, x, *qkv), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_weights_of_one_are_mamba2(draw):
    x, qkv = draw(1, 100, 12), (draw(1, 100, 4, 8), draw(1, 100, 2, 8), draw(1, 100, 2, 6))
    _, params, run = made(x)
    params["weights"] = jnp.zeros_like(params["weights"])
    mamba2 = variants.get("mamba2", normalize=False)
    other = variants.get("log_linear", normalize=False)
    own = {name: x for name, x in params.items() if name not in ("weights", "scale")}
    expected = mamba2.attend(own, *qkv, CAUSAL, features=mamba2.features(own, x))
    features = other.features(params, x)
    got = other.attend(
        params, *qkv, CAUSAL, features=features | {"weights": jnp.ones((1, 100, 4, 15))}
    )
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_steps_match_past_many_powers_of_two(draw):
    """And tell where they find no room."""
    arrays = draw(1, 70, 2, 4), draw(1, 70, 2, 4), draw(1, 70, 2, 3)
    log_decay, weights = -jnp.abs(draw(1, 70, 2, 1)) / 8, draw(1, 70, 2, 8)
    expected = fenwick.fenwick_scan(*arrays, log_decay, weights, chunk=8)
    state = fenwick.fenwick_empty(64, (1, 2, 4, 3), jnp.float32)
    assert state.sums.shape == (1, 2, 6, 4, 3)
    step = jax.jit(fenwick.fenwick_step)
    for t in range(66):
        state, out = step(state, *(x[:, t] for x in (*arrays, log_decay, weights)))
        if t < 64:
            np.testing.assert_allclose(out, expected[:, t], rtol=1e-4, atol=1e-5)
        else:
            assert jnp.isnan(out).all()


@pytest.mark.slow
@pytest.mark.parametrize("strong", [30.0, 1e4])
def test_strong_decay_leaves_values_and_gradients_finite(draw, strong):
    x, qkv = draw(1, 80, 12), (draw(1, 80, 4, 8), draw(1, 80, 2, 8), draw(1, 80, 2, 6))
    _, params, run = made(x)
    params["log_rate"] = jnp.full(4, np.log(strong))
    params["bias"] = jnp.asarray([-20.0, 3.0, 3.0, 30.0])
    loss = jax.jit(jax.value_and_grad(lambda *a: (run(*a) ** 3).sum(), (0, 1, 2, 3, 4)))
    for leaf in jax.tree.leaves(loss(params, x, *qkv)):
        assert jnp.isfinite(leaf).all()


@pytest.mark.slow
def test_products_grow_little_faster_than_the_length():
    """Those beyond a chunk, at lengths between which the levels grow from 5 to 7."""

    def products(t):
        arrays = [jax.ShapeDtypeStruct((1, t, 1, 32), jnp.float32)] * 3
        more = [jax.ShapeDtypeStruct((1, t, 1, n), jnp.float32) for n in (1, 15)]
        return jax.jit(fenwick.fenwick_scan).lower(*arrays, *more).cost_analysis()["flops"]

    assert products(4096) < 4 * 7 / 5 * 1.1 * products(1024)


@pytest.mark.slow
def test_pieces_match_the_equations(draw):
    """From a state on, where two sequences are at positions of their own."""
    x, qkv = pieces.inputs(draw, 75)
    variant, params, _ = made(x)
    got = pieces.in_pieces(variant, params, x, qkv, (5, 6, 46))
    expected = oracle(params, x, *qkv)
    late = 5
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(got[1, :-late], expected[1, :-late], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_packed_documents_match_the_equations(draw):
    """Each of them as it is alone."""
    x, qkv = pieces.inputs(draw, 75)
    variant, params, _ = made(x)
    lengths = ([7, 1, 40, 27], [75])
    got = pieces.of_documents(variant, params, x, qkv, lengths)
    expected = pieces.by_documents(lambda *own: oracle(params, *own), x, qkv, lengths)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


def test_bad_options_and_lengths_are_refused(users_errors, draw):
    with pytest.raises(ValueError, match="`levels` must be .*; got 0"):
        variants.get("log_linear", levels=0)
    with pytest.raises(ValueError, match="`convolution` must be .*; got 0. Use None"):
        variants.get("log_linear", convolution=0)
    x, qkv = draw(1, 5, 12), (draw(1, 5, 4, 8), draw(1, 5, 4, 8), draw(1, 5, 4, 8))
    variant, params, run = made(x, levels=3)
    with pytest.raises(ValueError, match="at most; got 5 with levels=3. Use levels=4."):
        run(params, x, *qkv)
    sizes = {"heads": 4, "kv_heads": 2, "head_width": 8, "value_width": 8, "dtype": jnp.float32}
    with pytest.raises(ValueError, match="at most; got 9 with levels=3. Use levels=5."):
        variant.start(params, 1, 9, **sizes)
