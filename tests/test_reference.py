import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention, masks, normalizers, reference, scores

K = jax.random.key


def draw(*shape, seed=0):
    return jax.random.normal(K(seed), shape)


def oracle(q, k, v, *, visible=None, bias=None):
    """Equation 1 of arXiv:1706.03762, one query at a time, in float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    share = q.shape[2] // k.shape[2]
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    lse = np.full(q.shape[:-1], -np.inf)
    for b, t, h in np.ndindex(q.shape[:-1]):
        logits = k[b, :, h // share] @ q[b, t, h] / np.sqrt(q.shape[-1])
        logits = logits + (0 if bias is None else bias[h, t])
        seen = np.ones(len(logits), bool) if visible is None else visible[b, h, t]
        if seen.any():
            weights = np.where(seen, np.exp(logits), 0)
            out[b, t, h] = weights @ v[b, :, h // share] / weights.sum()
            lse[b, t, h] = np.log(weights.sum())
    return out, lse


def random_visible(*shape):
    visible = jax.random.bernoulli(K(9), 0.5, shape)
    return visible.at[0, :, 0].set(False)  # the first query of sequence 0 sees nothing


@pytest.mark.parametrize("shape", [(2, 5, 5, 4, 2), (1, 1, 1, 1, 1), (3, 2, 7, 3, 1), (1, 9, 3, 2, 2)])
def test_matches_equation_1_in_loops(shape):
    b, t, s, h, g = shape
    q, k, v = draw(b, t, h, 8), draw(b, s, g, 8, seed=1), draw(b, s, g, 6, seed=2)
    visible, bias = random_visible(b, h, t, s), draw(h, t, s, seed=3)
    out, lse = attention(
        q,
        k,
        v,
        mask=masks.from_array(visible),
        score_mod=lambda score, b, h, i, j: score + bias[h, i, j],
        return_lse=True,
    )
    expected, expected_lse = oracle(q, k, v, visible=np.asarray(visible), bias=np.asarray(bias))
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(lse, expected_lse, rtol=1e-5, atol=1e-6)


def test_an_empty_batch_or_sequence_is_no_special_case():
    q, k, v = draw(2, 5, 4, 8), draw(2, 7, 2, 8), draw(2, 7, 2, 6)
    assert attention(q[:0], k[:0], v[:0], mask=masks.causal).shape == (0, 5, 4, 6)
    assert attention(q[:, :0], k, v, mask=masks.causal).shape == (2, 0, 4, 6)
    np.testing.assert_array_equal(attention(q, k[:, :0], v[:, :0], mask=masks.causal), 0)


def test_gradients_match_finite_differences_of_the_oracle():
    q, k, v = draw(1, 3, 2, 4), draw(1, 4, 1, 4, seed=1), draw(1, 4, 1, 3, seed=2)
    visible = np.asarray(random_visible(1, 2, 3, 4))
    target = np.asarray(draw(1, 3, 2, 3, seed=3), np.float64)

    def loss(q, k, v):
        return (attention(q, k, v, mask=masks.from_array(jnp.asarray(visible))) * target).sum()

    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(x, np.float64)) for x in (q, k, v)]
        gradients = jax.grad(loss, (0, 1, 2))(*wide)
    step = 1e-6
    for number, gradient in enumerate(gradients):
        for place in np.ndindex(gradient.shape):
            ends = []
            for sign in (-1, 1):
                moved = [np.array(x, np.float64) for x in (q, k, v)]
                moved[number][place] += sign * step
                ends.append((oracle(*moved, visible=visible)[0] * target).sum())
            expected = (ends[1] - ends[0]) / (2 * step)
            np.testing.assert_allclose(gradient[place], expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("poison", [jnp.nan, jnp.inf, -jnp.inf])
@pytest.mark.parametrize("score", [scores.scaled_dot, scores.cosine()])
def test_hidden_keys_and_values_that_are_not_finite_reach_nothing(poison, score):
    q, k, v = draw(2, 5, 4, 8), draw(2, 5, 2, 8, seed=1), draw(2, 5, 2, 6, seed=2)
    seen_by_none = masks.causal & masks.lengths(jnp.array([4, 4]))

    def run(mask, rows, q, k, v):
        def loss(q, k, v):
            return (attention(q, k, v, mask=mask, score=score)[:, :rows] ** 2).sum()

        return jax.value_and_grad(loss, (0, 1, 2))(q, k, v)

    clean = run(seen_by_none, 5, q, k, v)
    bad = run(seen_by_none, 5, q, k.at[:, 4].set(poison), v.at[:, 4, 0, 1].set(poison))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7), clean, bad)
    # Seen by the last query alone, it changes that row and no other.
    out = attention(q, k.at[:, 4].set(poison), v, mask=masks.causal, score=score)
    assert jnp.isnan(out[:, 4]).all()
    np.testing.assert_allclose(
        out[:, :4], attention(q, k, v, mask=masks.causal, score=score)[:, :4], rtol=1e-6
    )


def test_a_visible_value_that_is_not_finite_shows():
    q, k, v = draw(1, 3, 2, 4), draw(1, 3, 2, 4, seed=1), draw(1, 3, 2, 4, seed=2)
    out = attention(q, k, v.at[0, 1, 0, 0].set(jnp.nan), mask=masks.causal)
    assert jnp.isnan(out[0, 1:, 0]).all()
    assert jnp.isfinite(out[0, 0]).all() and jnp.isfinite(out[:, :, 1]).all()


def test_a_query_that_sees_nothing_reaches_nothing_even_if_not_finite():
    q, k, v = draw(1, 3, 2, 4), draw(1, 3, 2, 4, seed=1), draw(1, 3, 2, 4, seed=2)
    later = masks.Mask(lambda b, h, i, j: i > 0)

    def loss(q, k, v):
        return attention(q, k, v, mask=later).sum()

    for gradient in jax.grad(loss, (0, 1, 2))(q.at[0, 0].set(jnp.nan), k, v):
        assert jnp.isfinite(gradient).all()


def test_a_large_logit_does_not_overflow():
    q = jnp.full((1, 1, 1, 4), 1e4)
    k = jnp.stack([jnp.ones((1, 1, 4)), -jnp.ones((1, 1, 4))], axis=1)
    out = attention(q, k, k)
    np.testing.assert_array_equal(out, jnp.ones((1, 1, 1, 4)))


def test_the_dot_product_is_one_matrix_product():
    q, k = draw(2, 5, 4, 8), draw(2, 7, 2, 8)
    program = jax.make_jaxpr(lambda q, k: reference.pair_scores(scores.dot, q, k))(q, k)
    names = [equation.primitive.name for equation in program.jaxpr.eqns]
    assert names.count("dot_general") == 1


def test_a_mask_is_evaluated_only_along_what_it_depends_on():
    at = (jnp.arange(2), jnp.arange(4), jnp.arange(5), jnp.arange(7))
    padding = masks.lengths(jnp.array([3, 4]))
    assert reference.visible_pairs(masks.causal, at).shape == (1, 1, 5, 7)
    assert reference.visible_pairs(padding, at).shape == (2, 1, 1, 7)
    assert reference.visible_pairs(masks.causal & padding, at).shape == (2, 1, 5, 7)
    assert reference.visible_pairs(lambda b, h, i, j: h == 1, at).shape == (1, 4, 1, 1)
    assert reference.visible_pairs(lambda b, h, i, j: True, at).shape == (1, 1, 1, 1)


def units(s, g=2, b=2):
    """Values with which the output is the weights."""
    return jnp.broadcast_to(jnp.eye(s)[None, :, None], (b, s, g, s))


def test_dropout_keeps_a_share_and_rescales_it():
    q, k = draw(2, 40, 4, 8), draw(2, 40, 2, 8, seed=1)
    plain = attention(q, k, units(40))
    dropped = attention(q, k, units(40), dropout_rate=0.25, dropout_key=K(3))
    kept = dropped != 0
    assert abs(float(kept.mean()) - 0.75) < 0.01
    np.testing.assert_allclose(dropped[kept], plain[kept] / 0.75, rtol=1e-5)
    again = attention(q, k, units(40), dropout_rate=0.25, dropout_key=K(3))
    other = attention(q, k, units(40), dropout_rate=0.25, dropout_key=K(4))
    np.testing.assert_array_equal(dropped, again)
    assert ((dropped != 0) != (other != 0)).any()


def test_dropout_depends_on_global_positions_only():
    at = (jnp.arange(3), jnp.arange(4), jnp.arange(6), jnp.arange(7))
    whole = reference.kept_pairs(K(0), 0.5, at)
    part = reference.kept_pairs(K(0), 0.5, (at[0][1:], at[1][2:3], at[2][4:], at[3][:5]))
    np.testing.assert_array_equal(part, whole[1:, 2:3, 4:, :5])
    patterns = {whole[b, h].tobytes() for b in range(3) for h in range(4)}
    assert len(patterns) == 12


def test_dropout_maps_and_differentiates():
    q, k, v = draw(3, 2, 5, 4, 8), draw(3, 2, 5, 2, 8), draw(3, 2, 5, 2, 6)

    def loss(q, k, v):
        return attention(q, k, v, dropout_rate=0.5, dropout_key=K(3)).sum()

    mapped = jax.vmap(jax.grad(loss))(q, k, v)
    for n in range(3):
        np.testing.assert_allclose(mapped[n], jax.grad(loss)(q[n], k[n], v[n]), rtol=1e-5, atol=1e-6)


def test_captured_arrays_get_their_gradient():
    q, k, v = draw(1, 3, 2, 4), draw(1, 3, 2, 4, seed=1), draw(1, 3, 2, 4, seed=2)

    def loss(slopes, sink):
        out = attention(
            q,
            k,
            v,
            score_mod=lambda score, b, h, i, j: score - slopes[h] * abs(i - j).astype(score.dtype),
            normalizer=normalizers.softmax_with_sink(sink),
        )
        return (out**2).sum()

    at = (jnp.array([0.3, 0.1]), jnp.array([0.2, -0.4]))
    gradient = jax.jit(jax.grad(loss, (0, 1)))(*at)
    for number in range(2):
        for head in range(2):
            step = 1e-2
            ends = [
                loss(*(x.at[head].add(sign * step) if n == number else x for n, x in enumerate(at)))
                for sign in (-1, 1)
            ]
            expected = (ends[1] - ends[0]) / (2 * step)
            np.testing.assert_allclose(gradient[number][head], expected, rtol=1e-2, atol=1e-4)
