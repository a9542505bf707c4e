import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import scores
from attention_jax.core.jaxprs import split_pair


@pytest.fixture
def pair(draw):
    return draw(8), draw(8)


@pytest.mark.slow
def test_each_is_its_equation(pair, draw):
    q, k = (np.asarray(x, np.float64) for x in pair)
    w_square, w_q, w_k, w = draw(8, 8), draw(5, 8), draw(5, 8), draw(5)
    w_both = draw(5, 16)
    norms = np.sqrt((q**2).sum() * (k**2).sum())
    for score, expected in (
        (scores.dot, q @ k),
        (scores.scaled_dot, q @ k / np.sqrt(8)),
        (scores.cosine(temperature=0.5), q @ k / norms / 0.5),
        (scores.general(w_square), q @ np.asarray(w_square) @ k),
        (
            scores.additive(w_q, w_k, w),
            np.asarray(w) @ np.tanh(np.asarray(w_q) @ q + np.asarray(w_k) @ k),
        ),
        (
            scores.concat(w_both, w),
            np.asarray(w) @ np.tanh(np.asarray(w_both) @ np.concatenate([q, k])),
        ),
        (scores.distance(), -((q - k) ** 2).sum() / np.sqrt(8)),
        (scores.distance(width=0.7), -((q - k) ** 2).sum() / (2 * 0.7**2)),
    ):
        np.testing.assert_allclose(score(*pair), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_zero_vector_has_no_angle_and_no_gradient(pair):
    q, _ = pair
    value, gradient = jax.value_and_grad(scores.cosine())(jnp.zeros(8), q)
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros(8))


@pytest.mark.parametrize("name", ["additive", "concat"])
def test_a_hidden_layer_projects_each_side_once(draw, name):
    if name == "additive":
        score = scores.additive(draw(5, 8), draw(5, 8), draw(5))
    else:
        score = scores.concat(draw(5, 16), draw(5))
    pairs = jax.vmap(jax.vmap(score, (None, 0)), (0, None))
    program = jax.make_jaxpr(pairs)(draw(3, 8), draw(4, 8))
    shapes = [
        equation.outvars[0].aval.size
        for equation in program.jaxpr.eqns
        if equation.primitive.name == "dot_general"
    ]
    assert sorted(shapes) == [3 * 4, 3 * 5, 4 * 5]


def test_the_distance_is_one_dot_product_of_vectors_that_need_one_side_each(draw):
    parts = split_pair(jax.make_jaxpr(scores.distance())(draw(8), draw(8)))
    assert parts.pair is None
    assert parts.of_query(draw(8)).shape == parts.of_key(draw(8)).shape == (10,)


def test_the_concat_score_takes_keys_of_another_width(draw):
    w, v, q, k = draw(5, 11), draw(5), draw(8), draw(3)
    expected = np.asarray(v) @ np.tanh(np.asarray(w) @ np.concatenate([q, k]))
    np.testing.assert_allclose(scores.concat(w, v)(q, k), expected, rtol=1e-5, atol=1e-5)


def test_wrong_parameters_are_refused(users_errors):
    with pytest.raises(ValueError, match=r"`w` must have shape \[d d\]; got \(8,\)"):
        scores.general(jnp.ones(8))
    with pytest.raises(ValueError, match=r"`w_k` must have shape \[a d\]"):
        scores.additive(jnp.ones((5, 8)), jnp.ones(8), jnp.ones(5))
    with pytest.raises(ValueError, match="`temperature` must be above 0; got 0"):
        scores.cosine(temperature=0)
    with pytest.raises(ValueError, match=r"`w` must be as wide as .* 8 \+ 8; got \(5, 8\)"):
        scores.concat(jnp.ones((5, 8)), jnp.ones(5))(jnp.ones(8), jnp.ones(8))
    with pytest.raises(ValueError, match=r"`v` must have shape \[a\]"):
        scores.concat(jnp.ones((5, 16)), jnp.ones((5, 1)))
    with pytest.raises(ValueError, match="`width` must be above 0, or None; got 0"):
        scores.distance(width=0)
