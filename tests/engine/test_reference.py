"""The definition against loops in float64, and the promises that a matrix product breaks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention
from attention_jax.core import masks, normalizers, numerics, scores
from attention_jax.engine import reference

CAUSAL = jnp.tril(jnp.ones((5, 5), bool))[None, None]


def oracle(q, k, v, *, visible, bias):
    """Equation 1 of arXiv:1706.03762, one query at a time, in float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    share = q.shape[2] // k.shape[2]
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    lse = np.full(q.shape[:-1], -np.inf)
    for b, t, h in np.ndindex(q.shape[:-1]):
        logits = k[b, :, h // share] @ q[b, t, h] / np.sqrt(q.shape[-1]) + bias[h, t]
        if visible[b, h, t].any():
            weights = np.where(visible[b, h, t], np.exp(logits), 0)
            out[b, t, h] = weights @ v[b, :, h // share] / weights.sum()
            lse[b, t, h] = np.log(weights.sum())
    return out, lse


def random_visible(*shape):
    visible = np.random.default_rng(9).random(shape) < 0.5
    visible[0, :, 0] = False  # the first query of sequence 0 sees nothing
    return visible


def attend(q, k, v, visible, bias, **request):
    def add(score, b, h, i, j):
        return score + bias[h, i, j].astype(score.dtype)

    return attention(q, k, v, mask=masks.from_array(visible), score_mod=add, **request)


@jax.jit
def attend_with_lse(*arrays):
    return attend(*arrays, return_lse=True)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("shape", [(2, 5, 5, 4, 2), (1, 1, 1, 1, 1), (3, 2, 7, 3, 1)])
def test_matches_equation_1_in_loops(shape, draw):
    b, t, s, h, g = shape
    q, k, v, bias = draw(b, t, h, 8), draw(b, s, g, 8), draw(b, s, g, 6), draw(h, t, s)
    visible = random_visible(b, h, t, s)
    out, lse = attend_with_lse(q, k, v, jnp.asarray(visible), bias)
    expected, expected_lse = oracle(q, k, v, visible=visible, bias=np.asarray(bias))
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(lse, expected_lse, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_gradients_match_finite_differences_of_the_oracle(draw):
    arrays = draw(1, 3, 2, 4), draw(1, 4, 1, 4), draw(1, 4, 1, 3), draw(2, 3, 4)
    arrays = [np.asarray(x, np.float64) for x in arrays]
    visible, target = random_visible(1, 2, 3, 4), np.asarray(draw(1, 3, 2, 3), np.float64)

    def loss(q, k, v, bias):
        return (attend(q, k, v, jnp.asarray(visible), bias) * target).sum()

    with jax.enable_x64(True):
        wide = [jnp.asarray(x) for x in arrays]
        gradients = jax.device_get(jax.jit(jax.grad(loss, (0, 1, 2, 3)))(*wide))
    step = 1e-6
    for number, gradient in enumerate(gradients):
        for place in np.ndindex(gradient.shape):
            ends = []
            for sign in (-1, 1):
                moved = [x.copy() for x in arrays]
                moved[number][place] += sign * step
                out, _ = oracle(*moved[:3], visible=visible, bias=moved[3])
                ends.append((out * target).sum())
            expected = (ends[1] - ends[0]) / (2 * step)
            np.testing.assert_allclose(gradient[place], expected, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_an_empty_batch_or_sequence_is_no_special_case(draw):
    q, k, v = draw(2, 5, 4, 8), draw(2, 7, 2, 8), draw(2, 7, 2, 6)
    run = jax.jit(lambda q, k, v: attention(q, k, v, mask=masks.causal))
    assert run(q[:0], k[:0], v[:0]).shape == (0, 5, 4, 6)
    assert run(q[:, :0], k, v).shape == (2, 0, 4, 6)
    np.testing.assert_array_equal(run(q, k[:, :0], v[:, :0]), np.zeros((2, 5, 4, 6)))


@pytest.mark.slow
@pytest.mark.parametrize("score", [scores.scaled_dot, scores.cosine()], ids=["dot", "cosine"])
def test_hidden_keys_and_values_that_are_not_finite_reach_nothing(score, qkv):
    @jax.jit
    def run(q, k, v, visible):
        def loss(q, k, v):
            out = attention(q, k, v, mask=masks.from_array(visible), score=score)
            return (out**2).sum(), out

        return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(q, k, v)

    q, k, v = qkv
    seen_by_none = CAUSAL.at[..., 4].set(False)
    clean = run(q, k, v, seen_by_none)
    for bad in (jnp.nan, jnp.inf, -jnp.inf):
        dirty = run(q, k.at[:, 4].set(bad), v.at[:, 4, 0, 1].set(bad), seen_by_none)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), clean, dirty)
    # Seen by the last query alone, it changes that row and no other.
    expected = run(q, k, v, CAUSAL)[0][1]
    out = run(q, k.at[:, 4].set(jnp.nan), v, CAUSAL)[0][1]
    assert jnp.isnan(out[:, 4]).all()
    np.testing.assert_allclose(out[:, :4], expected[:, :4], rtol=1e-6)
    out = run(q, k, v.at[0, 1, 0, 0].set(jnp.inf), CAUSAL)[0][1]
    assert jnp.isnan(out[0, 1:, :2]).all()
    np.testing.assert_allclose(out[0, :1], expected[0, :1], rtol=1e-6)
    np.testing.assert_allclose(out[:, :, 2:], expected[:, :, 2:], rtol=1e-6)


@pytest.mark.slow
def test_a_query_that_sees_nothing_reaches_nothing_even_if_not_finite(qkv):
    q, k, v = qkv

    @jax.jit
    def gradients(q, k, v):
        def loss(*qkv):
            return attention(*qkv, mask=lambda b, h, i, j: i > 0).sum()

        return jax.grad(loss, (0, 1, 2))(q, k, v)

    expected, got = gradients(q, k, v), gradients(q.at[:, 0].set(jnp.nan), k, v)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), expected, got)


def test_large_logits_do_not_overflow():
    q = jnp.full((1, 1, 1, 4), 1e4)
    k = jnp.concatenate([jnp.ones((1, 1, 1, 4)), -jnp.ones((1, 1, 1, 4))], axis=1)
    np.testing.assert_array_equal(attention(q, k, k), np.ones((1, 1, 1, 4)))


def test_the_dot_product_is_one_matrix_product(qkv):
    q, k, _ = qkv
    program = jax.make_jaxpr(lambda q, k: reference.pair_scores(scores.dot, q, k))(q, k)
    names = [equation.primitive.name for equation in program.jaxpr.eqns]
    assert names.count("dot_general") == 1


@pytest.mark.slow
def test_a_mask_is_evaluated_only_along_what_it_depends_on():
    at = (jnp.arange(2), jnp.arange(4), jnp.arange(5), jnp.arange(7))
    padding = masks.lengths(jnp.array([3, 4]))
    assert reference.visible_pairs(masks.causal, at).shape == (1, 1, 5, 7)
    assert reference.visible_pairs(padding, at).shape == (2, 1, 1, 7)
    assert reference.visible_pairs(masks.causal & padding, at).shape == (2, 1, 5, 7)
    assert reference.visible_pairs(lambda b, h, i, j: h == 1, at).shape == (1, 4, 1, 1)
    assert reference.visible_pairs(lambda b, h, i, j: True, at).shape == (1, 1, 1, 1)


def dropped(q, k, seed):
    """The weights after dropout: values of one each give them."""
    units = jnp.broadcast_to(jnp.eye(k.shape[1])[None, :, None], (*k.shape[:3], k.shape[1]))
    return attention(q, k, units, dropout_rate=0.25, dropout_key=jax.random.key(seed))


@pytest.mark.slow
def test_dropout_keeps_a_share_and_rescales_it(draw):
    q, k = draw(2, 40, 4, 8), draw(2, 40, 2, 8)
    run = jax.jit(dropped)
    first, again, other = run(q, k, 3), run(q, k, 3), run(q, k, 4)
    kept = np.asarray(first != 0)
    # 12,800 draws: four standard deviations.
    assert abs(kept.mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / kept.size)
    assert (kept != (other != 0)).any()
    np.testing.assert_array_equal(first, again)
    logits = jax.jit(lambda q, k: reference.pair_scores(scores.scaled_dot, q, k))(q, k)
    weights = np.asarray(jax.nn.softmax(logits)).transpose(0, 2, 1, 3)
    np.testing.assert_allclose(first[kept], weights[kept] / 0.75, rtol=1e-5)


@pytest.mark.slow
def test_dropout_depends_on_global_positions_only():
    at = (jnp.arange(3), jnp.arange(4), jnp.arange(6), jnp.arange(7))
    kept = jax.jit(lambda *at: numerics.kept_pairs(jax.random.key(0), 0.5, at))
    whole = kept(*jnp.ix_(*at))
    part = kept(*jnp.ix_(at[0][1:], at[1][2:3], at[2][4:], at[3][:5]))
    np.testing.assert_array_equal(part, whole[1:, 2:3, 4:, :5])
    patterns = {np.asarray(whole[b, h]).tobytes() for b in range(3) for h in range(4)}
    assert len(patterns) == 12


@pytest.mark.slow
def test_dropout_maps_and_differentiates(draw):
    q, k = draw(3, 2, 5, 4, 8), draw(3, 2, 5, 2, 8)
    gradient = jax.grad(lambda q, k: (dropped(q, k, 3) ** 2).sum())
    mapped, alone = jax.jit(jax.vmap(gradient))(q, k), jax.jit(gradient)
    for n in range(3):
        np.testing.assert_allclose(mapped[n], alone(q[n], k[n]), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_captured_sink_and_slope_get_their_gradient(qkv):
    def loss(learned):
        slopes, sink = learned

        def lower(score, b, h, i, j):
            return score - slopes[h] * abs(i - j).astype(score.dtype)

        normalizer = normalizers.softmax_with_sink(sink)
        return (attention(*qkv, score_mod=lower, normalizer=normalizer) ** 2).sum()

    at = jnp.array([[0.3, 0.1, 0.2, 0.5], [0.2, -0.4, 0.0, 1.0]])
    value, gradient = jax.jit(loss), jax.jit(jax.grad(loss))(at)
    step = 1e-2
    for place in np.ndindex(2, 4):
        ends = [value(at.at[place].add(sign * step)) for sign in (-1, 1)]
        expected = (ends[1] - ends[0]) / (2 * step)
        np.testing.assert_allclose(gradient[place], expected, rtol=1e-2, atol=1e-2)
