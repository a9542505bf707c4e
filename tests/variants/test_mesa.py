import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.variants._builders.mesa_scan import solved
from tests.support import pieces

CAUSAL = Options(mask=masks.causal)


def silu(x):
    return x / (1 + np.exp(-x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def oracle(params, x, q, k, v, *, hidden=(), least=0.25):
    """The least squares of arXiv:2506.05233, solved anew at each position."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x, q, k, v = (np.asarray(a, np.float64) for a in (x, q, k, v))
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        at = h * k.shape[2] // q.shape[2]
        heads = {"q": q[b, :, h], "k": k[b, :, at], "v": v[b, :, at]}
        ridge = np.diag(least + np.log1p(np.exp(params["ridge"][h])))
        pairs = []  # of a weight, a key and a value so far
        for t in range(q.shape[1]):
            now = {n: silu(convolved(params, n, a, h, t, hidden)) for n, a in heads.items()}
            query, key = (now[n] / np.sqrt((now[n] ** 2).sum() + 1e-6) for n in ("q", "k"))
            if t not in hidden:
                keep = sigmoid(x[b, t] @ params["keep"][:, h] + params["bias"][h])
                pairs = [(keep * weight, *rest) for weight, *rest in pairs]
                pairs.append((sigmoid(x[b, t] @ params["strength"][:, h]), key, now["v"]))
            gram, both = ridge, np.zeros((len(ridge), v.shape[-1]))
            for weight, own, value in pairs:
                gram = gram + weight * np.outer(own, own)
                both = both + weight * np.outer(own, value)
            row = both.T @ np.linalg.solve(gram, query)
            out[b, t, h] = row / np.sqrt((row**2).mean() + 1e-5)
    return out


def convolved(params, name, x, h, t, hidden):
    taps, shown = params["taps"][name][h], [s not in hidden for s in range(len(x))]
    own = x[t] * (shown[t] or name == "q")
    earlier = range(1, min(len(taps), t + 1))
    rest = (taps[lag, : x.shape[1]] * x[t - lag] * shown[t - lag] for lag in earlier)
    return taps[0, : x.shape[1]] * own + sum(rest)


def made(x, **options):
    variant = variants.get("mesa", **options)
    params = variant.init(jax.random.key(0), width=x.shape[-1], **pieces.SIZES)
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
    np.testing.assert_allclose(run(params, x, *qkv), oracle(params, x, *qkv), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_many_chunks_match_too(draw):
    """Where little fades, and as many iterations as keys are wide find the map."""
    x, qkv = pieces.inputs(draw, 75)
    _, params, run = made(x, iterations=8)
    params["bias"] = jnp.full(4, 6.0)
    expected = oracle(params, x, *qkv)
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
def test_pieces_match_the_equations(draw):
    x, qkv = pieces.inputs(draw, 45)
    variant, params, _ = made(x)
    got = pieces.in_pieces(variant, params, x, qkv, (5, 6, 40))
    expected = oracle(params, x, *qkv)
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(got[1, :-5], expected[1, :-5], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_packed_documents_match_the_equations(draw):
    x, qkv = pieces.inputs(draw, 45)
    variant, params, _ = made(x)
    lengths = [7, 1, 20, 17], [45]
    got = pieces.of_documents(variant, params, x, qkv, lengths)
    expected = pieces.by_documents(lambda *own: oracle(params, *own), x, qkv, lengths)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


def test_the_search_solves_and_its_derivative_is_that_of_the_solution(draw):
    matrix, right = draw(3, 6, 6), draw(3, 6)
    matrix = matrix @ matrix.mT + jnp.eye(6)[None]

    def by_search(matrix, right):
        return solved(lambda x: jnp.einsum("bij,bj->bi", matrix, x), right, 12)

    def by_elimination(matrix, right):
        return jnp.linalg.solve(matrix, right[..., None])[..., 0]

    expected = by_elimination(matrix, right)
    np.testing.assert_allclose(by_search(matrix, right), expected, rtol=1e-3, atol=1e-4)
    # Only what is symmetric counts: the matrix is one.
    one, other = (
        jax.grad(lambda m, r, f=f: jnp.sin(f((m + m.mT) / 2, r)).sum(), (0, 1))(matrix, right)
        for f in (by_search, by_elimination)
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
    assert (solved(lambda x: x, jnp.zeros((2, 3)), 4) == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("strong", [-30.0, -1e4])
def test_strong_decay_leaves_values_and_gradients_finite(draw, qkv, strong):
    x = draw(2, 5, 12)
    _, params, run = made(x)
    params["bias"] = jnp.asarray([strong, -strong, strong, 0])
    loss = jax.jit(jax.value_and_grad(lambda *a: (run(*a) ** 3).sum(), (0, 1, 2, 3, 4)))
    for leaf in jax.tree.leaves(loss(params, x, *qkv)):
        assert jnp.isfinite(leaf).all()


def test_bad_options_are_refused(users_errors):
    with pytest.raises(ValueError, match="`iterations` must be .*; got 0"):
        variants.get("mesa", iterations=0)
    with pytest.raises(ValueError, match="`least` must be .*; got 0"):
        variants.get("mesa", least=0.0)
    with pytest.raises(ValueError, match="`convolution` must be .*; got 0. Use None"):
        variants.get("mesa", convolution=0)
