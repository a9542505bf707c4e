import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.variants.hard import log_probability, reinforce_loss

ESTIMATORS = ["straight_through", "reinforce"]


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_without_a_key_the_highest_score_is_read(qkv, estimator):
    got = jax.jit(variants.get("hard", estimator=estimator).attend)({}, *qkv)
    q, k, v = (np.asarray(x) for x in qkv)
    for b, t, h in np.ndindex(got.shape[:-1]):
        best = (k[b, :, h // 2] @ q[b, t, h]).argmax()
        np.testing.assert_allclose(got[b, t, h], v[b, best, h // 2], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_with_a_key_it_draws_from_the_softmax(draw, estimator):
    rows, q, k = 4000, draw(1, 1, 2, 8), draw(1, 3, 1, 8)
    units = jnp.eye(3)[None, :, None]
    variant, options = (
        variants.get("hard", estimator=estimator),
        Options(dropout_key=jax.random.key(1)),
    )
    attend = jax.jit(lambda *x: variant.attend({}, *x, options))
    drawn = attend(q.repeat(rows, 1), k, units)
    assert (jnp.sort(drawn) == jnp.asarray([0.0, 0.0, 1.0])[None, None, None]).all()
    p = softmax(np.einsum("hd,sd->hs", q[0, 0], k[0, :, 0]) / np.sqrt(8))
    # Within 5 standard deviations of the mean of that many draws.
    assert (abs(drawn[0].mean(0) - p) < 5 * np.sqrt(p * (1 - p) / rows)).all()
    # Heads draw by themselves: both get their first key as often as chance has it.
    together = (drawn[0, :, 0, 0] * drawn[0, :, 1, 0]).mean()
    assert abs(together - p[0, 0] * p[1, 0]) < 0.04


@pytest.mark.slow
def test_a_draw_depends_on_the_place_alone(qkv):
    q, k, v = qkv
    variant, key = variants.get("hard"), jax.random.key(3)

    def attend(q, **request):
        return variant.attend({}, q, k, v, Options(dropout_key=key, mask=masks.causal, **request))

    whole = jax.jit(attend)(q)
    later = jax.jit(lambda q: attend(q, query_offset=3))(q[:, 3:])
    np.testing.assert_array_equal(later, whole[:, 3:])
    dense = jax.jit(lambda q: attend(q, implementation="reference"))(q)
    np.testing.assert_allclose(dense, whole, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["reference", "blockwise"])
def test_straight_through_has_the_gradient_of_the_relaxed_choice(qkv, draw, implementation):
    """Equation 5 of arXiv:1611.01144 for the scores; the values' is that of the choice."""
    q, k, v = qkv
    temperature, target, key = 0.5, draw(2, 5, 4, 6), jax.random.key(3)
    variant = variants.get("hard", temperature=temperature)

    def loss(q, v):
        request = {"dropout_key": key, "mask": masks.causal, "implementation": implementation}
        return (variant.attend({}, q, k, v, Options(**request)) * target).sum()

    of_query, of_value = jax.jit(jax.grad(loss, (0, 1)))(q, v)
    noise = gumbel(key, 2, 4, 5, 5)

    def relaxed(q):
        scores = jnp.einsum("bthd,bshd->bhts", q, k.repeat(2, 2)) / 8**0.5
        scores = jnp.where(jnp.tri(5, dtype=bool)[None, None], scores + noise, -jnp.inf)
        weights = jax.nn.softmax(scores / temperature)
        return (jnp.einsum("bhts,bshe->bthe", weights, v.repeat(2, 2)) * target).sum()

    expected = jax.jit(jax.grad(relaxed))(q)
    np.testing.assert_allclose(of_query, expected, rtol=1e-4, atol=1e-5)
    # Each row hands its cotangent to one key, so sums over keys agree.
    given = target.reshape(2, 5, 2, 2, 6).sum((1, 3))
    np.testing.assert_allclose(of_value.sum(1), given, rtol=1e-5, atol=1e-5)


def gumbel(key, *shape):
    """The noise [b h t s], drawn pair by pair."""
    noise, _ = jax.random.split(key)

    def one(b, h, i, j):
        own = noise
        for place in (b, h, i, j):
            own = jax.random.fold_in(own, place)
        return jax.random.gumbel(own)

    return jax.jit(jax.vmap(one))(*(x.ravel() for x in jnp.indices(shape))).reshape(shape)


@pytest.mark.slow
def test_log_probability_is_that_of_the_draw(qkv):
    q, k, _ = qkv
    mask, key = masks.causal & (lambda b, h, i, j: i != 2), jax.random.key(5)
    units = jnp.broadcast_to(jnp.eye(5)[None, :, None], (2, 5, 2, 5))
    attend = variants.get("hard", estimator="reinforce").attend
    drawn = jax.jit(lambda: attend({}, q, k, units, Options(mask=mask, dropout_key=key)))()
    got = jax.jit(lambda q, k: log_probability(q, k, Options(mask=mask, dropout_key=key)))(q, k)
    wide_q, wide_k = (np.asarray(x, np.float64) for x in (q, k))
    for b, t, h in np.ndindex(got.shape):
        scores = wide_k[b, : t + 1, h // 2] @ wide_q[b, t, h] / np.sqrt(8)
        chosen = int(drawn[b, t, h].argmax())
        expected = 0 if t == 2 else np.log(softmax(scores)[chosen])
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("baseline", [0.0, 3.0])
def test_reinforce_has_the_expected_gradient(draw, baseline):
    """All draws of two rows over two keys, each as often as its probability has it."""
    arrays = draw(1, 2, 1, 4), draw(1, 2, 1, 4), draw(1, 2, 1, 3)
    attend = variants.get("hard", estimator="reinforce").attend

    def of_draws(out):
        return (jnp.sin(out).sum((1, 2, 3)) + out.prod((1, 2, 3))) ** 2

    def surrogate(arrays, key):
        q, k, v = arrays
        loss = of_draws(attend({}, q, k, v, Options(dropout_key=key)))
        log_p = log_probability(q, k, Options(dropout_key=key)).sum((1, 2))
        return reinforce_loss(loss, log_p, jnp.asarray(baseline))[0], log_p[0]

    def expected_loss(arrays):
        q, k, v = (x[0, :, 0] for x in arrays)
        p = jax.nn.softmax(q @ k.T / 2)
        outs = ((p[0, m] * p[1, n], jnp.stack([v[m], v[n]])) for m, n in np.ndindex(2, 2))
        return sum(chance * of_draws(out[None, :, None])[0] for chance, out in outs)

    gradient, found = jax.jit(jax.grad(surrogate, has_aux=True)), {}
    for seed in range(60):
        of_draw, log_p = gradient(arrays, jax.random.key(seed))
        found[round(float(log_p), 4)] = np.exp(log_p), of_draw
    assert len(found) == 4, "every draw has come up"
    chances, gradients = zip(*found.values(), strict=True)
    np.testing.assert_allclose(sum(chances), 1, rtol=1e-5)
    mean = jax.tree.map(lambda *x: sum(p * y for p, y in zip(chances, x, strict=True)), *gradients)
    for got, expected in zip(mean, jax.jit(jax.grad(expected_loss))(arrays), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_the_baseline_follows_the_mean_loss():
    loss, log_p = jnp.asarray([1.0, 3.0]), jnp.asarray([-0.5, -2.0])
    surrogate, baseline = reinforce_loss(loss, log_p, jnp.asarray(1.0), decay=0.75)
    np.testing.assert_allclose(surrogate, (1 + 3 + 2 * -2.0) / 2, rtol=1e-6)
    np.testing.assert_allclose(baseline, 0.75 * 1 + 0.25 * 2, rtol=1e-6)


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="`estimator` must be one of 'straight_through', 'reinf"):
        variants.get("hard", estimator="gumbel")
    with pytest.raises(ValueError, match="`temperature` must be above 0; got 0.0"):
        variants.get("hard", temperature=0.0)
    with pytest.raises(ValueError, match="`temperature` belongs to the estimator straight_through"):
        variants.get("hard", estimator="reinforce", temperature=0.5)
    with pytest.raises(ValueError, match=r"`decay` must be a Python number in \[0, 1\)"):
        reinforce_loss(jnp.ones(2), jnp.ones(2), jnp.asarray(0.0), decay=1.0)
