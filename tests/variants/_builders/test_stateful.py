import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import jaxprs, masks
from attention_jax.core.numerics import kept_pairs
from attention_jax.core.types import Options
from attention_jax.variants._builders import stateful

PADDED = jnp.array([[True, True, False, True, True], [False, True, True, True, True]])


def lagging(params, past, q, k, visible, key):
    """A softmax of dots, whose last weights count against it."""
    del key
    keys = jnp.repeat(k, q.shape[1] // k.shape[2], axis=2)
    scores = jnp.einsum("bhd,bshd->bhs", q, keys) * params["scale"] - past
    raised = jnp.where(visible[:, None], jnp.exp(scores), 0)
    return (weights := raised / raised.sum(-1, keepdims=True)), weights


def drawn(params, past, q, k, visible, key):
    _, weights = lagging(params, past, q, k, visible, None)
    return past, weights if key is None else weights * jax.random.uniform(key)


def init(key, **sizes):
    return {"scale": jnp.float32(0.3)}


VARIANT = stateful.from_weights("lagging", lagging, init=init)
PARAMS = init(None)


def oracle(q, k, v, visible, kept=None):
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        past, at = 0, h * k.shape[2] // q.shape[2]
        for t in range(q.shape[1]):
            raised = np.exp(0.3 * k[b, :, at] @ q[b, t, h] - past) * visible[b]
            past = raised / raised.sum()
            own = past if kept is None else past * kept[b, h, t] / 0.6
            out[b, t, h] = own @ v[b, :, at]
    return out


def attend(qkv, variant=VARIANT, **request):
    return jax.jit(lambda *x: variant.attend(PARAMS, *x, Options(**request)))(*qkv)


@pytest.mark.slow
def test_attend_is_one_query_after_another(qkv):
    visible = np.asarray(PADDED)
    got = attend(qkv, mask=masks.keys(PADDED))
    np.testing.assert_allclose(got, oracle(*qkv, visible), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_gradients_pass_from_query_to_query(qkv):
    q, k, v = (x.astype(jnp.float32) for x in qkv)

    def loss(params, q, k, v):
        return (VARIANT.attend(params, q, k, v) ** 2).sum()

    gradient = jax.jit(jax.grad(loss, (0, 1, 2, 3)))(PARAMS, q, k, v)

    def plain(params, q, k, v):
        past, out = jnp.zeros((2, 4, 5)), 0.0
        for t in range(5):
            past, weights = lagging(params, past, q[:, t], k, jnp.ones((2, 5), bool), None)
            values = jnp.repeat(v, 2, axis=2)
            out = out + (jnp.einsum("bhs,bshe->bhe", weights, values) ** 2).sum()
        return out

    expected = jax.jit(jax.grad(plain, (0, 1, 2, 3)))(PARAMS, q, k, v)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradient, expected
    )


@pytest.mark.slow
def test_dropout_takes_weights_after_they_are_remembered(qkv):
    key = jax.random.key(1)
    got = attend(qkv, dropout_rate=0.4, dropout_key=key)
    at = jnp.ix_(*(jnp.arange(n) for n in (2, 4, 5, 5)))
    kept = np.asarray(kept_pairs(key, 0.4, at))
    expected = oracle(*qkv, np.ones((2, 5)), kept)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_only_what_draws_is_given_a_key(qkv):
    key = jax.random.key(1)
    np.testing.assert_array_equal(attend(qkv, dropout_key=key), attend(qkv))
    random = stateful.from_weights("drawn", drawn, init=init, stochastic=True)
    calm, wild = (attend(qkv, random, dropout_key=x) for x in (None, key))
    ratio = wild / calm
    # One draw a query, for all of its weights.
    np.testing.assert_allclose(ratio, ratio[:1, :, :1, :1] + 0 * ratio, rtol=1e-4)
    assert len(np.unique(np.round(np.asarray(ratio[0, :, 0, 0]), 3))) == 5


@pytest.mark.slow
def test_what_is_visible_and_not_finite_is_seen_from_the_first_query_on(qkv):
    q, k, v = qkv
    spoiled = k.at[0, 2].set(jnp.nan)
    np.testing.assert_array_equal(
        attend((q, spoiled, v), mask=masks.keys(PADDED)), attend(qkv, mask=masks.keys(PADDED))
    )
    out = attend((q, spoiled, v))
    assert jnp.isnan(out[0]).all() and jnp.isfinite(out[1]).all()


@pytest.mark.slow
def test_float64_and_bfloat16_keep_what_they_know(qkv):
    sizes = {"heads": 4, "kv_heads": 2, "head_width": 8, "value_width": 6}
    assert VARIANT.start(PARAMS, 2, 5, **sizes, dtype=jnp.bfloat16).dtype == jnp.float32
    with jax.enable_x64(True):
        wide = tuple(x.astype(jnp.float64) for x in qkv)
        assert VARIANT.start(PARAMS, 2, 5, **sizes, dtype=jnp.float64).dtype == jnp.float64
        got = VARIANT.attend({"scale": jnp.float64(0.3)}, *wide)
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, oracle(*qkv, np.ones((2, 5))), rtol=1e-7)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"mask": masks.causal}, "lagging looks .* must not hold `masks.causal`"),
        ({"mask": masks.causal & masks.keys(PADDED)}, "must not hold `masks.causal`"),
        ({"mask": masks.sliding_window(2)}, "lagging takes in a key once"),
        ({"query_offset": 3}, "`query_offset` must be 0 for lagging.*got 3"),
        ({"query_offset": jnp.int32(0)}, "`start` and `cross_step`"),
        ({"dropout_rate": 0.5}, "`dropout_key` must be given"),
    ],
)
def test_what_it_cannot_honour_is_refused(qkv, request_, message):
    with pytest.raises(ValueError, match=message):
        VARIANT.attend(PARAMS, *qkv, Options(**request_))


def test_what_is_fixed_is_computed_once():
    def function(fixed, moving):
        return jnp.sin(fixed["a"] @ fixed["a"]) * moving, (fixed["b"], moving + 1)

    fixed = {"a": jnp.ones(3), "b": jnp.arange(2)}
    rest = jaxprs.hoist_invariant(function, fixed, jnp.float32(0))
    got, (b, more) = rest(jnp.float32(2))
    np.testing.assert_allclose(got, 2 * np.sin(3), rtol=1e-6)
    assert b.tolist() == [0, 1] and more == 3
    assert {e.primitive.name for e in jax.make_jaxpr(rest)(jnp.float32(2)).eqns}.isdisjoint(
        {"sin", "dot_general"}
    )


@pytest.mark.slow
def test_energies_are_one_hidden_layer(draw):
    q, k, added = draw(2, 4, 8), draw(2, 5, 2, 8), draw(2, 4, 5, 3)
    params = stateful.init_additive_energy(jax.random.key(0), 8, 3) | {"b": draw(3)}
    got = jax.jit(stateful.additive_energy)(params, q, k, added)
    w_q, w_k, w, bias, q, k, added = (
        np.asarray(x, np.float64)
        for x in (*(params[n] for n in ("w_q", "w_k", "w", "b")), q, k, added)
    )
    for b, h, s in np.ndindex(got.shape):
        hidden = np.tanh(w_q @ q[b, h] + w_k @ k[b, s, h // 2] + bias + added[b, h, s])
        np.testing.assert_allclose(got[b, h, s], w @ hidden, rtol=1e-5, atol=1e-6)


def walked(past, stop):
    """Equations 13 and 14 of arXiv:1704.00784, for one row."""
    come, weights = 0.0, np.zeros(len(past))
    for j in range(len(past)):
        come = (1 - stop[j - 1] if j else 0) * come + past[j]
        weights[j] = stop[j] * come
    return weights


@pytest.mark.slow
def test_monotonic_weights_follow_the_recurrence(draw):
    past, stop = jax.nn.softmax(draw(2, 3, 67)), jax.nn.sigmoid(draw(2, 3, 67))
    got = jax.jit(stateful.monotonic)(past, stop)
    for row in np.ndindex(2, 3):
        expected = walked(np.asarray(past[row], np.float64), np.asarray(stop[row], np.float64))
        np.testing.assert_allclose(got[row], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_monotonic_weights_stay_exact_where_a_walk_is_sure_to_stop():
    past = stateful.at_first((1, 1, 400), jnp.float32)
    for stop, place in ((jnp.zeros(400).at[300].set(1), 300), (jnp.ones(400), 0)):
        weights = jax.jit(lambda stop: stateful.monotonic(past, stop[None, None])[0, 0])
        np.testing.assert_array_equal(weights(stop), np.eye(400)[place])
        assert jnp.isfinite(jax.jacobian(weights)(stop)).all()
