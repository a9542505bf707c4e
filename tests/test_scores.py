import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import scores


@pytest.fixture
def pair(draw):
    return draw(8), draw(8)


def test_each_is_its_equation(pair, draw):
    q, k = (np.asarray(x, np.float64) for x in pair)
    w_square, w_q, w_k, w = draw(8, 8), draw(5, 8), draw(5, 8), draw(5)
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
    ):
        np.testing.assert_allclose(score(*pair), expected, rtol=1e-5, atol=1e-5)


def test_a_zero_vector_has_no_angle_and_no_gradient(pair):
    q, _ = pair
    value, gradient = jax.value_and_grad(scores.cosine())(jnp.zeros(8), q)
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros(8))


def test_the_additive_score_projects_each_side_once(draw):
    score = scores.additive(draw(5, 8), draw(5, 8), draw(5))
    pairs = jax.vmap(jax.vmap(score, (None, 0)), (0, None))
    program = jax.make_jaxpr(pairs)(draw(3, 8), draw(4, 8))
    shapes = [
        equation.outvars[0].aval.size
        for equation in program.jaxpr.eqns
        if equation.primitive.name == "dot_general"
    ]
    assert sorted(shapes) == [3 * 4, 3 * 5, 4 * 5]


def test_wrong_parameters_are_refused(users_errors):
    with pytest.raises(ValueError, match=r"`w` must have shape \[d d\]; got \(8,\)"):
        scores.general(jnp.ones(8))
    with pytest.raises(ValueError, match=r"`w_k` must have shape \[a d\]"):
        scores.additive(jnp.ones((5, 8)), jnp.ones(8), jnp.ones(5))
    with pytest.raises(ValueError, match="`temperature` must be above 0; got 0"):
        scores.cosine(temperature=0)
