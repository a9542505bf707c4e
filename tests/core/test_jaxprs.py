"""Scores split in two give what they gave whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import jaxprs, scores

VECTOR = jax.ShapeDtypeStruct((5,), jnp.float32)


def pair(seed=0):
    return jax.random.normal(jax.random.key(seed), (2, 5))


def learned(*shape):
    return jax.random.normal(jax.random.key(7), shape)


SCORES = {
    "dot": scores.dot,
    "cosine": scores.cosine(temperature=0.5),
    "general": scores.general(learned(5, 5)),
    "additive": scores.additive(learned(9, 5), learned(9, 5), learned(9)),
    "two parts of the key": lambda q, k: q @ jnp.sin(k) + q[0] * k.sum(),
    "key alone": lambda q, k: (k * k).sum(),
    "query alone": lambda q, k: (q * q).sum(),
    "whole numbers": lambda q, k: q[jnp.argmax(k)] * k.max(),
    "nested": lambda q, k: jax.jit(lambda a, b: a @ jnp.tanh(b))(q, jax.jit(jnp.exp)(k)),
}


@pytest.mark.parametrize("name", SCORES)
def test_the_parts_give_the_score_and_its_derivatives(name):
    score, (q, k) = SCORES[name], pair()
    prepare, rest = jaxprs.split_score(score, VECTOR, VECTOR)

    def both(q, k):
        return rest(q, prepare(k))

    np.testing.assert_allclose(both(q, k), score(q, k), rtol=1e-6)
    for expected, got in zip(
        jax.grad(score, (0, 1))(q, k), jax.grad(both, (0, 1))(q, k), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_what_the_key_alone_decides_is_computed_before():
    prepare, rest = jaxprs.split_score(SCORES["additive"], VECTOR, VECTOR)
    q, k = pair()
    assert prepare(k).shape == (9,)  # W_k k
    products = str(jax.make_jaxpr(rest)(q, prepare(k))).count("dot_general")
    assert products == 2  # W_q q, and w . tanh


def test_captured_parameters_get_their_gradients():
    q, k = pair()

    def of(w, split):
        score = scores.additive(w, w, w[0])
        if not split:
            return score(q, k)
        prepare, rest = jaxprs.split_score(score, VECTOR, VECTOR)
        return rest(q, prepare(k))

    w = learned(5, 5)
    expected = jax.grad(of)(w, False)
    np.testing.assert_allclose(
        jax.jit(jax.grad(of), static_argnums=1)(w, True), expected, rtol=1e-5
    )


@pytest.mark.parametrize(
    "name, width", [("dot", 1), ("cosine", 1), ("additive", 9), ("key alone", 1), ("nested", 1)]
)
def test_the_width_is_what_a_pair_holds_beyond_its_score(name, width):
    assert jaxprs.split_pair(SCORES[name], VECTOR, VECTOR).width == width
