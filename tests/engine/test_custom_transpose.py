"""Functions that bring their transpose: JAX may do with them all that it does with its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.engine import custom_transpose

CALLS = []


def function(residuals, tangents):
    """Linear in its tangents; two outputs, of a pytree."""
    w, count, scales = residuals["w"], residuals["count"], residuals["scales"]
    x, (y, z) = tangents["x"], tangents["rest"]
    first = jnp.sin(w) @ x + count.astype(x.dtype) * y
    return {"first": first, "second": (scales * x).sum() - 2 * y.sum() + z}


def transpose(needed, residuals, cotangents):
    CALLS.append(needed)
    w, count, scales = residuals["w"], residuals["count"], residuals["scales"]
    first, second = cotangents["first"], cotangents["second"]
    # In the order of the leaves: rest comes before x.
    of_y = count.astype(first.dtype) * first - 2 * second if needed[0] else None
    of_z = second if needed[1] else None
    of_x = jnp.sin(w).T @ first + scales * second if needed[2] else None
    return {"x": of_x, "rest": (of_y, of_z)}


def applied(residuals, tangents):
    return custom_transpose.apply(function, transpose, residuals, tangents)


@pytest.fixture
def residuals(draw):
    return {"w": draw(3, 4), "count": jnp.array(3), "scales": draw(4)}


@pytest.fixture
def tangents(draw):
    return {"x": draw(4), "rest": (draw(3), draw())}


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()


def close(got, expected):
    def leaf(x, y):
        assert x.dtype == y.dtype
        if x.dtype != jax.dtypes.float0:
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)

    jax.tree.map(leaf, got, expected)


def loss(apply, residuals, tangents):
    out = apply(residuals, tangents)
    return jnp.sin(out["first"]).sum() + out["second"] ** 2


def both(compute, *arguments):
    """`compute(apply, *arguments)` with the transpose of ours and with JAX's own."""
    got, expected = compute(applied, *arguments), compute(function, *arguments)
    close(got, expected)
    return got


@pytest.mark.slow
def test_it_is_its_function(residuals, tangents):
    both(lambda apply: apply(residuals, tangents))
    both(lambda apply: jax.jit(apply)(residuals, tangents))


@pytest.mark.slow
def test_the_given_transpose_is_used_and_equals_jaxs_own(residuals, tangents):
    for gradient in (jax.grad(loss, 2), jax.jit(jax.grad(loss, 2), static_argnums=0)):
        CALLS.clear()
        both(gradient, residuals, tangents)
        assert CALLS == [(True, True, True)]


def test_linear_transpose_needs_no_point(residuals, tangents):
    out = function(residuals, tangents)
    both(lambda apply: jax.linear_transpose(lambda x: apply(residuals, x), tangents)(out))
    assert len(CALLS) == 1


def test_a_wrong_transpose_shows_that_no_other_is_used(residuals, tangents):
    def twice(*arguments):
        return jax.tree.map(lambda x: 2 * x, transpose(*arguments))

    wrong = lambda *x: custom_transpose.apply(function, twice, *x)  # noqa: E731
    got = jax.grad(loss, 2)(wrong, residuals, tangents)
    close(got, jax.tree.map(lambda x: 2 * x, jax.grad(loss, 2)(function, residuals, tangents)))


@pytest.mark.parametrize(
    "name, needed", [("x", (False, False, True)), ("rest", (True, True, False))]
)
def test_only_what_is_needed_is_asked_for(name, needed, residuals, tangents):
    def gradient(apply, chosen):
        return jax.grad(lambda x: loss(apply, residuals, {**tangents, name: x}))(chosen)

    both(gradient, tangents[name])
    assert CALLS == [needed]


@pytest.mark.slow
def test_tangents_of_residuals_and_of_tangents(residuals, tangents):
    floats = {name: residuals[name] for name in ("w", "scales")}

    def compute(apply, floats, tangents):
        run = lambda floats, tangents: apply({**residuals, **floats}, tangents)  # noqa: E731
        directions = jax.tree.map(jnp.cos, (floats, tangents))
        of_all = jax.jvp(run, (floats, tangents), directions)
        of_tangents = jax.jvp(lambda x: run(floats, x), (tangents,), directions[1:])
        of_residuals = jax.jvp(lambda x: run(x, tangents), (floats,), directions[:1])
        gradients = jax.grad(lambda *x: loss(apply, {**residuals, **x[0]}, x[1]), (0, 1))(
            floats, tangents
        )
        return of_all, of_tangents, of_residuals, gradients

    both(jax.jit(compute, static_argnums=0), floats, tangents)


@pytest.mark.slow
def test_second_derivatives(residuals, tangents):
    floats = {name: residuals[name] for name in ("w", "scales")}

    def compute(apply, *at):
        gradient = jax.grad(lambda floats, x: loss(apply, {**residuals, **floats}, x), (0, 1))
        forward = jax.jvp(gradient, at, jax.tree.map(jnp.cos, at))[1]
        reverse = jax.grad(
            lambda *at: sum((x**2).sum() for x in jax.tree.leaves(gradient(*at))), (0, 1)
        )
        return forward, reverse(*at)

    both(jax.jit(compute, static_argnums=0), floats, tangents)


@pytest.mark.slow
def test_whole_numbers_among_the_residuals_have_no_tangent(residuals, tangents):
    compute = lambda apply: jax.grad(loss, 1, allow_int=True)(apply, residuals, tangents)  # noqa: E731
    assert both(compute)["count"].dtype == jax.dtypes.float0


MAPPED = {
    "residuals": (0, None),
    "tangents": (None, 0),
    "both": (0, 0),
    "some": ({"w": 0, "count": None, "scales": None}, {"x": None, "rest": (0, None)}),
    "another axis": ({"w": 2, "count": None, "scales": 1}, {"x": 1, "rest": (None, 0)}),
}


def several(tree, axes):
    """Five of each leaf that is mapped."""
    if axes is None:
        return tree
    if isinstance(axes, int):
        axes = jax.tree.map(lambda x: axes, tree)
    one = lambda x, axis: x if axis is None else jnp.stack([x * n for n in range(5)], axis)  # noqa: E731
    flat = jax.tree.leaves(axes, is_leaf=lambda x: x is None)
    leaves, form = jax.tree.flatten(tree)
    return jax.tree.unflatten(form, [one(x, n) for x, n in zip(leaves, flat, strict=True)])


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", MAPPED)
def test_vmap_with_shared_and_with_mapped_arguments(name, residuals, tangents):
    axes = MAPPED[name]
    r, x = (several(tree, own) for tree, own in zip((residuals, tangents), axes, strict=True))

    def compute(apply, r, x):
        out = jax.vmap(apply, axes)(r, x)
        losses = lambda r, x: jax.vmap(lambda r, x: loss(apply, r, x), axes)(r, x).sum()  # noqa: E731
        _, tangent = jax.jvp(lambda x: losses(r, x), (x,), (jax.tree.map(jnp.cos, x),))
        each = jax.vmap(jax.grad(lambda x, r: loss(apply, r, x)), axes[::-1])(x, r)
        return out, tangent, jax.grad(losses, 1)(r, x), each

    both(jax.jit(compute, static_argnums=0), r, x)
    assert CALLS  # also where all is mapped


@pytest.mark.slow
def test_mapped_twice_and_scanned(residuals, tangents):
    many = several(several(tangents, 0), 0)

    def compute(apply, many):
        def mapped(many):
            one = lambda x: loss(apply, residuals, x)  # noqa: E731
            return jax.vmap(jax.vmap(one))(many).sum()

        def scanned(many):
            def body(carry, x):
                x = {**x, "x": x["x"] * jnp.cos(carry)}
                return carry + loss(apply, residuals, x), None

            first = jax.tree.map(lambda x: x[1], many)
            return jax.lax.scan(jax.checkpoint(body), 0.0, first)[0]

        return jax.grad(mapped)(many), jax.grad(scanned)(many)

    both(jax.jit(compute, static_argnums=0), many)
