"""Normalizers over blocks: rows that can be checked by hand, and the same rows all at once."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import normalizers, online_normalizers
from attention_jax.core.online_normalizers import Block

FORMS = {
    "softmax": normalizers.softmax,
    "sink": normalizers.softmax_with_sink(jnp.array([0.5, -1.0])),
    "sigmoid": normalizers.sigmoid(-0.5),
    "relu": normalizers.relu,
    "signed_softmax": normalizers.signed_softmax,
    "softpick": normalizers.softpick,
    "hard": normalizers.hard,
    "top_k": normalizers.top_k(3),
    "sparsemax": normalizers.sparsemax,
    "entmax15": normalizers.entmax15,
}
PLACES = [np.array([0, 1, 2]), np.array([3, 4]), np.array([5, 6, 7])]


def cut(logits, visible, order):
    """Blocks of keys, in any order."""
    logits = jnp.where(visible, logits, -jnp.inf)
    visible = jnp.broadcast_to(visible, logits.shape)
    return [
        Block(logits[..., place], visible[..., place], jnp.asarray(place, jnp.int32))
        for place in (PLACES[n] for n in order)
    ]


def sweep_over(blocks):
    """What the engine does, without its loops."""

    def sweep(look, start, *found):
        rows, dtype = blocks[0].logits.shape[:-1], blocks[0].logits.dtype
        state = jax.tree.map(lambda x: jnp.full(rows, x, dtype), start)
        for block in blocks:
            state = look(state, block, *found)
        return state

    return sweep


def by_blocks(form, logits, visible, order=(0, 1, 2)):
    """Weights, slopes and shares of all keys, and the numbers of the rows."""
    if form.before is not None:
        logits = form.before(logits)
    blocks = cut(logits, visible, order)
    row = form.row_statistics(sweep_over(blocks))
    wide = jax.tree.map(lambda x: x[..., None], row)
    weights, slopes, shares = (jnp.zeros_like(logits) for _ in range(3))
    for block in blocks:
        p = form.weight(block.logits, wide, jnp.broadcast_to(block.keys, block.logits.shape))
        weights = weights.at[..., block.keys].set(p)
        slopes = slopes.at[..., block.keys].set(form.derivative(block.logits, p, wide))
        if form.share is not None:
            shares = shares.at[..., block.keys].set(form.share(block.logits, p, wide))
    return (weights, slopes, shares), row


@pytest.fixture(params=FORMS)
def normalizer(request):
    return FORMS[request.param]


@pytest.fixture
def data(draw):
    """Logits [b h t s], and what is visible; one row sees nothing, one a single key."""
    logits, visible = 2 * draw(2, 2, 3, 8), np.array(draw(2, 2, 3, 8) < 0.7)
    visible[0, 0, 0], visible[1, 0, 1] = False, np.arange(8) == 4
    return logits, jnp.asarray(visible)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_blocks_in_any_order_give_the_weights_of_whole_rows(order, normalizer, data):
    (weights, _, _), row = by_blocks(normalizer.online, *data, order)
    if normalizer.online.after is not None:  # the sink takes its share of what is there
        out, lse = weights.transpose(0, 2, 1, 3), jnp.asarray(row).transpose(0, 2, 1)
        lse = jnp.where(lse > 1e30, -jnp.inf, lse)
        out, lse = normalizer.online.after(out, lse)
        weights = out.transpose(0, 2, 1, 3)
        expected_lse = normalizer.lse(*data).transpose(0, 2, 1)
        np.testing.assert_allclose(lse, expected_lse, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weights, normalizer.weights(*data), rtol=1e-5, atol=1e-6)


@pytest.mark.sampled(4)
def test_the_rule_is_the_derivative_of_the_weights(normalizer, data, draw):
    """`slope (dx - dt)`, where `dt` keeps the sum of balanced weights; or a total that moves."""
    form, (logits, visible), change = normalizer.online, data, draw(2, 2, 3, 8)
    if form.after is not None:
        normalizer = normalizers.softmax  # `after` is differentiated by itself
    (weights, slopes, shares), _ = by_blocks(form, logits, visible)
    shift = (slopes * change).sum(-1, keepdims=True) if form.sums_to_one else 0.0
    total = slopes.sum(-1, keepdims=True)
    tangent = slopes * (change - shift / jnp.where(total == 0, 1, total))
    tangent = tangent - weights * (shares * change).sum(-1, keepdims=True)
    _, expected = jax.jvp(lambda x: normalizer.weights(x, visible), (logits,), (change,))
    np.testing.assert_allclose(tangent, expected, rtol=1e-4, atol=1e-5)
    assert (np.asarray(weights)[~np.asarray(visible)] == 0).all()


@pytest.mark.sampled(2)
def test_slopes_match_finite_differences_of_the_weight(normalizer, data):
    """The row's numbers held fixed, each weight depends on its own logit alone."""
    form, (logits, visible), step = normalizer.online, data, 1e-6
    with jax.enable_x64(True):
        logits = jnp.asarray(np.asarray(logits, np.float64))
        raised = logits if form.before is None else form.before(logits)
        block = Block(jnp.where(visible, raised, -jnp.inf), visible, jnp.arange(8))
        row = jax.tree.map(lambda x: x[..., None], form.row_statistics(sweep_over([block])))
        keys = jnp.broadcast_to(block.keys, logits.shape)
        below, weights, above = (
            np.asarray(form.weight(block.logits + x, row, keys)) for x in (-step, 0, step)
        )
        slopes = np.asarray(form.derivative(block.logits, jnp.asarray(weights), row))
    if normalizer.name == "hard":
        np.testing.assert_array_equal(slopes, 0)
    elif normalizer.name != "top_k":  # which chooses by what the row holds
        expected = np.where(visible, above - below, 0) / (2 * step)
        np.testing.assert_allclose(np.where(visible, slopes, 0), expected, rtol=1e-5, atol=1e-6)


def rows_of(form, *logits):
    """One row, all visible but where a logit is None."""
    visible = jnp.array([x is not None for x in logits])[None]
    x = jnp.array([0.0 if x is None else x for x in logits], jnp.float32)[None]
    return by_blocks(form, x, visible, (2, 0, 1))[0][0][0]


NONE = (None,) * 5


@pytest.mark.slow
def test_softmax_by_hand():
    weights = rows_of(online_normalizers.SOFTMAX, 0.0, np.log(2.0), None, np.log(5.0), *NONE[:4])
    np.testing.assert_allclose(weights, [1 / 8, 2 / 8, 0, 5 / 8, 0, 0, 0, 0], rtol=1e-6)


def test_large_logits_do_not_overflow():
    weights = rows_of(online_normalizers.SOFTMAX, 1e4, 1e4, *NONE, -1e4)
    # The logarithm of their sum is rounded as they are: to 1e-3.
    np.testing.assert_allclose(weights, [0.5, 0.5, 0, 0, 0, 0, 0, 0], rtol=1e-3)


@pytest.mark.slow
def test_relu_divides_by_the_number_of_visible_keys():
    weights = rows_of(online_normalizers.RELU, 4.0, -1.0, 2.0, None, 6.0, *NONE[:3])
    np.testing.assert_allclose(weights, [1, 0, 0.5, 0, 1.5, 0, 0, 0])


@pytest.mark.slow
def test_hard_takes_the_first_of_equals_in_any_order():
    logits, visible = jnp.array([[1.0, 3.0, 0.0, 3.0, 2.0, 3.0, 1.0, 0.0]]), jnp.ones((1, 8), bool)
    for order in itertools.permutations(range(3)):
        (weights, _, _), _ = by_blocks(online_normalizers.HARD, logits, visible, order)
        np.testing.assert_array_equal(weights[0], np.eye(8)[1])


@pytest.mark.slow
def test_top_k_keeps_equals_and_rows_with_fewer_keys_than_k():
    three = online_normalizers.top_k(3)
    weights = rows_of(three, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0)  # four share the third place
    np.testing.assert_allclose(weights, [0.25, 0.25, 0, 0.25, 0, 0.25, 0, 0], rtol=1e-6)
    weights = rows_of(three, None, None, np.log(3.0), *NONE[:4], 0.0)
    np.testing.assert_allclose(weights, [0, 0, 0.75, 0, 0, 0, 0, 0.25], rtol=1e-6)
    np.testing.assert_array_equal(rows_of(three, *NONE, *NONE[:3]), np.zeros(8))


@pytest.mark.slow
def test_sparsemax_and_entmax_by_hand():
    """`max(x - 0.5, 0)` and `max(x / 2 + 0.3, 0)^2` have the sum 1."""
    weights = rows_of(online_normalizers.SPARSEMAX, 1.0, 0.75, 0.75, 0.4, -2.0, *NONE[:3])
    np.testing.assert_allclose(weights, [0.5, 0.25, 0.25, 0, 0, 0, 0, 0], atol=1e-6)
    weights = rows_of(online_normalizers.ENTMAX15, 1.0, 0.6, -0.6, -3.0, *NONE[:4])
    np.testing.assert_allclose(weights, [0.64, 0.36, 0, 0, 0, 0, 0, 0], atol=1e-6)


def by_bisection(z, scale, power):
    """`max(scale z - threshold, 0)^power` that sums to 1, in float64."""
    z = scale * np.asarray(z, np.float64)
    low, high = z.max() - 1, z.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if (np.maximum(z - middle, 0) ** power).sum() > 1 else (low, middle)
        )
    return np.maximum(z - low, 0) ** power


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name, scale, power", [("sparsemax", 1.0, 1), ("entmax15", 0.5, 2)])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 30.0, 1e4])
def test_thresholds_match_bisection(name, scale, power, spread):
    """From rows that are all but flat, with all keys in the support, to rows with one key."""
    form, generator = FORMS[name].online, np.random.default_rng(3)
    logits = jnp.asarray(spread * generator.normal(size=(40, 8)), jnp.float32)
    (weights, _, _), _ = by_blocks(form, logits, jnp.ones((1, 8), bool))
    for got, z in zip(weights, logits, strict=True):
        expected = by_bisection(z, scale, power)
        # Logits themselves are rounded to their size.
        np.testing.assert_allclose(got, expected, atol=1e-6 * max(1, spread))
        np.testing.assert_allclose(got.sum(), 1, rtol=1e-5)


def test_nan_shows_in_its_row_alone(normalizer, data):
    logits, _ = data
    logits = logits.at[0, 1, 2, 3].set(jnp.nan)
    (weights, _, _), _ = by_blocks(normalizer.online, logits, jnp.ones((1, 1, 1, 8), bool))
    bad = jnp.isnan(weights)
    assert bad[0, 1, 2, 3] and bad.any(-1).sum() == 1
