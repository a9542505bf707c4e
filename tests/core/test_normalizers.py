import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import normalizers

SINK = np.array([0.3, -0.5])
ALPHA = np.array([1.25, 1.75])


def simplex_projection(z):
    """Algorithm 1 of arXiv:1602.02068."""
    ranked = np.sort(z)[::-1]
    size = max(n for n in range(1, len(z) + 1) if 1 + n * ranked[n - 1] > ranked[:n].sum())
    return np.maximum(z - (ranked[:size].sum() - 1) / size, 0)


def entmax15_by_bisection(z):
    """Equation 9 of arXiv:1905.05702: [z / 2 - threshold]_+^2 that sums to 1."""
    low, high = z.max() / 2 - 1, z.max() / 2
    for _ in range(100):
        middle = (low + high) / 2
        total = (np.maximum(z / 2 - middle, 0) ** 2).sum()
        low, high = (middle, high) if total > 1 else (low, middle)
    return np.maximum(z / 2 - low, 0) ** 2


def entmax_by_bisection(z, alpha):
    """Equation 3 of arXiv:1909.00015: [(alpha - 1) z - threshold]_+^(1 / (alpha - 1))."""
    z = (alpha - 1) * z
    low, high = z.max() - 1, z.max()
    for _ in range(100):
        middle = (low + high) / 2
        total = (np.maximum(z - middle, 0) ** (1 / (alpha - 1))).sum()
        low, high = (middle, high) if total > 1 else (low, middle)
    return np.maximum(z - low, 0) ** (1 / (alpha - 1))


def top_2(z):
    kept = np.where(z >= np.sort(z)[-2:][0], np.exp(z), 0)
    return kept / kept.sum()


def broken_stick(z):
    """The equation of arXiv:2410.17980: each key, from the last on, breaks off a share."""
    weights, left = np.zeros(len(z)), 1.0
    for n in reversed(range(len(z))):
        weights[n] = left / (1 + np.exp(-z[n]))
        left -= weights[n]
    return weights


# Each from its equation, for the visible logits z of one query of head h.
ORACLES = {
    "softmax": (normalizers.softmax, lambda z, h: np.exp(z) / np.exp(z).sum()),
    "softmax_with_sink": (
        normalizers.softmax_with_sink(jnp.asarray(SINK, jnp.float32)),
        lambda z, h: np.exp(z) / (np.exp(z).sum() + np.exp(SINK[h])),
    ),
    "signed_softmax": (
        normalizers.signed_softmax,
        lambda z, h: np.sign(z) * np.exp(abs(z)) / np.exp(abs(z)).sum(),
    ),
    "softpick": (
        normalizers.softpick,
        lambda z, h: np.maximum(np.exp(z) - 1, 0) / abs(np.exp(z) - 1).sum(),
    ),
    "stick_breaking": (normalizers.stick_breaking, lambda z, h: broken_stick(z)),
    "sigmoid": (normalizers.sigmoid(-1.0), lambda z, h: 1 / (1 + np.exp(1 - z))),
    "sigmoid_of_count": (normalizers.sigmoid(None), lambda z, h: 1 / (1 + len(z) * np.exp(-z))),
    "relu": (normalizers.relu, lambda z, h: np.maximum(z, 0) / len(z)),
    "hard": (normalizers.hard, lambda z, h: np.eye(len(z))[z.argmax()]),
    "top_k": (normalizers.top_k(2), lambda z, h: top_2(z)),
    "sparsemax": (normalizers.sparsemax, lambda z, h: simplex_projection(z)),
    "entmax15": (normalizers.entmax15, lambda z, h: entmax15_by_bisection(z)),
    "entmax": (
        normalizers.entmax(jnp.asarray(ALPHA, jnp.float32)),
        lambda z, h: entmax_by_bisection(z, ALPHA[h]),
    ),
}


@pytest.fixture(params=ORACLES)
def case(request):
    normalizer, oracle = ORACLES[request.param]
    assert request.param.startswith(normalizer.name)
    return normalizer, oracle


# Of logits that are all -infinity these make zeros.
WITH_NOTHING = ("relu", "sigmoid", "signed_softmax", "softmax", "softmax_with_sink", "softpick")
WITH_NOTHING += ("stick_breaking",)


def data():
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(3, 2, 4, 6))
    visible = generator.random((3, 2, 4, 6)) < 0.6
    visible[..., 0], visible[..., 1] = True, True
    visible[0, 0, 0] = False
    return logits, visible


def expected_weights(oracle, logits, visible):
    weights = np.zeros_like(logits)
    for b, h, t in np.ndindex(logits.shape[:-1]):
        seen = visible[b, h, t]
        if seen.any():
            weights[b, h, t, seen] = oracle(logits[b, h, t, seen], h)
    return weights


def test_each_is_its_equation(case):
    normalizer, oracle = case
    logits, visible = data()
    got = jax.jit(normalizer.weights)(jnp.asarray(logits, jnp.float32), jnp.asarray(visible))
    np.testing.assert_allclose(got, expected_weights(oracle, logits, visible), rtol=1e-5, atol=1e-6)


@pytest.mark.sampled(5)
def test_gradients_match_finite_differences(case):
    normalizer, oracle = case
    if normalizer.name == "hard":
        pytest.skip("no gradient by definition")
    logits, visible = data()
    target = np.random.default_rng(2).normal(size=logits.shape)

    def loss(logits):
        return (normalizer.weights(logits, jnp.asarray(visible)) * target).sum()

    with jax.enable_x64(True):
        gradient = jax.device_get(jax.jit(jax.grad(loss))(jnp.asarray(logits)))
    step = 1e-6
    for place in np.ndindex(logits.shape):
        ends = []
        for sign in (-1, 1):
            moved = logits.copy()
            moved[place] += sign * step
            # Only this row moves.
            row = tuple(slice(n, n + 1) for n in place[:3])
            weights = expected_weights(
                lambda z, _, head=place[1]: oracle(z, head), moved[row], visible[row]
            )
            ends.append((weights * target[row]).sum())
        np.testing.assert_allclose(gradient[place], (ends[1] - ends[0]) / (2 * step), atol=1e-6)


def test_nan_shows_where_it_is_seen_and_not_where_it_is_hidden(case):
    normalizer, _ = case
    logits, visible = data()
    visible[..., 2], visible[1, 0, 0, 2] = False, True
    bad = jnp.asarray(logits, jnp.float32).at[..., 2].set(jnp.nan)
    run = jax.jit(normalizer.weights)
    got = run(bad, jnp.asarray(visible))
    assert jnp.isnan(got[1, 0, 0, 2])
    clean = run(jnp.asarray(logits, jnp.float32), jnp.asarray(visible))
    np.testing.assert_array_equal(got[0], clean[0])


def test_minus_infinity_everywhere_is_nothing_seen(case):
    normalizer, _ = case
    if normalizer.name in WITH_NOTHING:
        got = normalizer.weights(jnp.full((1, 2, 1, 3), -jnp.inf), jnp.ones((1, 1, 1, 1), bool))
        np.testing.assert_array_equal(got, np.zeros((1, 2, 1, 3)))


@pytest.mark.parametrize("name", ["softmax", "softmax_with_sink"])
def test_lse_is_what_the_weights_are_divided_by(name):
    normalizer, _ = ORACLES[name]
    logits, visible = data()
    sums = np.where(visible, np.exp(logits), 0).sum(-1)
    if name == "softmax_with_sink":
        sums = sums + np.exp(SINK)[None, :, None]
    got = normalizer.lse(jnp.asarray(logits, jnp.float32), jnp.asarray(visible))
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(got, np.log(sums), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_equal_logits_share_or_the_first_wins():
    logits, visible = jnp.zeros((1, 1, 1, 4)), jnp.ones((1, 1, 1, 1), bool)
    for normalizer in (normalizers.sparsemax, normalizers.entmax15, normalizers.top_k(9)):
        np.testing.assert_allclose(normalizer.weights(logits, visible), logits + 0.25, rtol=1e-6)
    got = normalizers.hard.weights(logits, visible)
    np.testing.assert_array_equal(got[0, 0, 0], [1, 0, 0, 0])


@pytest.mark.slow
def test_straight_through_is_hard_with_the_derivative_of_softmax():
    logits, visible = (jnp.asarray(x) for x in data())
    logits = logits.astype(jnp.float32)
    target = jnp.asarray(np.random.default_rng(2).normal(size=logits.shape), jnp.float32)

    def pull(normalizer):
        out, pull = jax.vjp(lambda x: normalizer.weights(x, visible), logits)
        return out, pull(target)[0]

    weights, gradient = jax.jit(lambda: pull(normalizers.straight_through))()
    np.testing.assert_array_equal(weights, normalizers.hard.weights(logits, visible))
    np.testing.assert_allclose(gradient, pull(normalizers.softmax)[1], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_entmax_meets_its_neighbours():
    logits, visible = (jnp.asarray(x) for x in data())
    logits = logits.astype(jnp.float32)
    for alpha, other in ((1.5, normalizers.entmax15), (2.0, normalizers.sparsemax)):
        got = normalizers.entmax(jnp.full(2, alpha)).weights(logits, visible)
        np.testing.assert_allclose(got, other.weights(logits, visible), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_gradient_of_entmax_in_alpha_matches_finite_differences():
    logits, visible = data()
    target = np.random.default_rng(2).normal(size=logits.shape)

    def loss(alpha):
        weights = normalizers.entmax(alpha).weights(jnp.asarray(logits), jnp.asarray(visible))
        return (weights * target).sum()

    with jax.enable_x64(True):
        gradient = jax.device_get(jax.jit(jax.grad(loss))(jnp.asarray(ALPHA)))
    step = 1e-6
    for head in range(2):
        ends = []
        for moved in (ALPHA[head] - step, ALPHA[head] + step):
            weights = expected_weights(
                lambda z, _, moved=moved: entmax_by_bisection(z, moved),
                logits[:, head : head + 1],
                visible[:, head : head + 1],
            )
            ends.append((weights * target[:, head : head + 1]).sum())
        np.testing.assert_allclose(gradient[head], (ends[1] - ends[0]) / (2 * step), atol=1e-6)


@pytest.mark.slow
def test_entmax_near_softmax_keeps_its_digits():
    logits = 3 * jnp.asarray(np.random.default_rng(3).normal(size=(1, 2, 1, 1000)), jnp.float32)
    got = jax.jit(lambda x: normalizers.entmax(jnp.full(2, 1.01)).weights(x, x == x))(logits)
    for head in range(2):
        alpha = float(np.float32(1.01))
        expected = entmax_by_bisection(np.asarray(logits[0, head, 0], np.float64), alpha)
        np.testing.assert_allclose(got[0, head, 0], expected, rtol=1e-5, atol=1e-6)


def test_wrong_arguments_are_refused(users_errors):
    with pytest.raises(ValueError, match="`k` must be a whole number of at least 1; got 0"):
        normalizers.top_k(0)
    with pytest.raises(ValueError, match=r"`sink` must have shape \[h\]"):
        normalizers.softmax_with_sink(jnp.ones((1, 2)))
    with pytest.raises(ValueError, match=r"`alpha` must have shape \[h\]"):
        normalizers.entmax(jnp.ones((1, 2)))


@pytest.mark.slow
def test_entmax_needs_an_alpha_above_one(users_errors):
    for alpha in (0.5, 1, jnp.array([1.5, 0.5]), np.array([1.0, 2.0], np.float32)):
        with pytest.raises(ValueError, match="`alpha` must be above 1; got (0.5|1)"):
            normalizers.entmax(alpha)
    logits = jnp.array([[[[1.0, 2.0, 0.5]], [[1.0, 2.0, 0.5]]]])
    run = jax.jit(lambda alpha: normalizers.entmax(alpha).weights(logits, logits > 0))
    got = run(jnp.array([0.5, 1.5]))
    assert jnp.isnan(got[0, 0]).all() and jnp.isfinite(got[0, 1]).all()
