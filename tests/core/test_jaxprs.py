"""Programs in parts give what they gave whole; and what is read off them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxpr_as_fun

from attention_jax.core import jaxprs, scores

VECTOR = jax.ShapeDtypeStruct((5,), jnp.float32)


def pair(seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(2, 5)), jnp.float32)


def learned(*shape):
    return jnp.asarray(np.random.default_rng(7).normal(size=shape), jnp.float32)


SCORES = {
    "dot": scores.dot,
    "cosine": scores.cosine(temperature=0.5),
    "general": scores.general(learned(5, 5)),
    "additive": scores.additive(learned(9, 5), learned(9, 5), learned(9)),
    "two parts of the key": lambda q, k: q @ jnp.sin(k) + q[0] * k.sum(),
    "a multiple of the key": lambda q, k: -jnp.abs(q - 2 * k).sum(),
    "key alone": lambda q, k: (k * k).sum(),
    "query alone": lambda q, k: (q * q).sum(),
    "whole numbers": lambda q, k: q[jnp.argmax(k)] * k.max(),
    "nested": lambda q, k: jax.jit(lambda a, b: a @ jnp.tanh(b))(q, jax.jit(jnp.exp)(k)),
}


@pytest.mark.sampled(5)
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


@pytest.mark.slow
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
    assert jaxprs.split_pair(jax.make_jaxpr(SCORES[name])(VECTOR, VECTOR)).width == width


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_its_three_parts(name):
    parts = jaxprs.split_pair(jax.make_jaxpr(SCORES[name])(VECTOR, VECTOR))
    q, k = of = pair()
    q, k = (f(x) if f else x for f, x in zip((parts.of_query, parts.of_key), of, strict=True))
    got = parts.scale * (q @ k) if parts.pair is None else jaxpr_as_fun(parts.pair)(q, k)[0]
    np.testing.assert_allclose(got, SCORES[name](*of), rtol=1e-6)


def test_the_scale_of_a_dot_product_is_read_off():
    def scale_of(score):
        return jaxprs.split_pair(jax.make_jaxpr(score)(VECTOR, VECTOR)).dot_scale

    assert scale_of(scores.dot) == 1
    assert scale_of(scores.scaled_dot) == pytest.approx(5**-0.5)
    assert scale_of(lambda q, k: (q / 2) @ (3 * k) / 5) == pytest.approx(0.3)
    assert scale_of(lambda q, k: k @ q) == 1
    for other in (lambda q, k: q @ q, lambda q, k: q @ k + 1, SCORES["general"], SCORES["cosine"]):
        assert scale_of(other) is None


def program_of_two():
    """A loop and a call, inside each other, of two vectors and a captured one."""
    captured = jnp.arange(5.0)

    def function(x, y):
        step = lambda carry, _: (jax.jit(jnp.sin)(carry) + captured, None)  # noqa: E731
        return jax.lax.scan(step, x, None, length=3)[0] * jnp.cos(y).sum(), y

    return jax.make_jaxpr(function)(VECTOR, VECTOR)


def test_walk_meets_the_equations_of_loops_and_calls():
    names = [x.primitive.name for x in jaxprs.walk(program_of_two().jaxpr)]
    assert {"scan", "sin", "cos"} <= set(names)
    assert names.index("scan") < names.index("sin") < names.index("cos")
    (loop,) = (x for x in program_of_two().jaxpr.eqns if x.primitive.name == "scan")
    (body,) = jaxprs.inner(loop)
    assert "sin" not in [x.primitive.name for x in body.eqns]  # that is in the call


def test_a_slice_holds_what_its_outputs_need_and_no_more():
    program = program_of_two()
    x, y = program.jaxpr.invars
    product = next(e for e in program.jaxpr.eqns if e.primitive.name == "mul")
    by_x = jaxprs.slice(program, [x], product.invars[:1])
    assert [e.primitive.name for e in by_x.jaxpr.eqns] == ["scan"] and len(by_x.consts) == 1
    by_y = jaxprs.slice(program, [y], [y])
    assert not by_y.jaxpr.eqns and not by_y.consts
    (got,) = jaxpr_as_fun(by_x)(jnp.zeros(5))
    expected = np.arange(5.0)
    for _ in range(2):
        expected = np.sin(expected) + np.arange(5.0)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_a_program_is_cut_where_the_rest_needs_its_other_input():
    program = program_of_two()
    x, y = program.jaxpr.invars
    cut = jaxprs.split_invariant(program.jaxpr, [y], [x])
    assert y in cut and len(cut) == 2  # an output, and the sum of cosines
    before, outputs = jaxprs.slice(program, [y], cut), program.jaxpr.outvars
    after = jaxprs.slice(program, [x, *cut], outputs)
    assert "cos" not in str(after) and "reduce_sum" not in str(after)
    values = pair()
    got = jaxpr_as_fun(after)(values[0], *jaxpr_as_fun(before)(values[1]))
    jax.tree.map(np.testing.assert_array_equal, got, jaxpr_as_fun(program)(*values))
    # What may not be cut is computed on both sides.
    vectors = jaxprs.split_invariant(program.jaxpr, [y], [x], lambda v: len(v.aval.shape) == 1)
    assert "reduce_sum" in str(jaxprs.slice(program, [x, *vectors], outputs))


def test_captured_arrays_become_arguments():
    slopes, places, key = jnp.arange(3.0), jnp.array([2, 0]), jax.random.key(0)

    def function(x, i):
        return x * slopes[places[i]] + jax.random.uniform(key)

    at = jnp.float32(2), jnp.int32(0)
    made = jaxprs.hoist(jax.make_jaxpr(function)(*at))
    assert [x.shape for x in made.floats] == [(3,)] and len(made.others) == 2
    np.testing.assert_allclose(made.function(*made[1:3], *at), function(*at))
    of_slopes = jax.grad(lambda floats: made.function(floats, made.others, *at))(made.floats)
    np.testing.assert_array_equal(of_slopes[0], [0, 0, 2])


def test_a_mask_says_what_it_depends_on():
    assert jaxprs.depends_on(lambda b, h, i, j: (j <= i) | (0 * h == 1)) == (
        False,
        True,
        True,
        True,
    )
    assert jaxprs.depends_on(lambda b, h, i, j: True) == (False,) * 4
