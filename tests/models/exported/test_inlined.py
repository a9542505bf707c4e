"""Programs without calls compute the same, loops that run backwards included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core.jaxprs import walk
from attention_jax.models.exported.inlined import inlined

CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint"}


@jax.custom_jvp
def cube(x):
    return x * x * x


cube.defjvp(lambda x, dx: (cube(x[0]), 3 * x[0] ** 2 * dx[0]))


def nested(x):
    return jax.jit(lambda y: jax.jit(cube)(y) + 1.0)(x)


def checkpointed(x):
    return jax.checkpoint(jnp.sin)(jax.lax.optimization_barrier(x))


def looped(x):
    def turn(carry, now):
        return cube(carry) + now, nested(carry)

    last, out = jax.lax.scan(turn, jnp.float32(0.1), x)
    return jax.lax.cond(last > 0, nested, cube, out) + last


def backwards(x):
    scale = x.sum()

    def turn(carry, now):
        return carry * 0.5 + scale * now, (carry, now[None])

    return jax.lax.scan(turn, jnp.float32(0), x, reverse=True)


@pytest.mark.parametrize("function", [nested, checkpointed, looped, backwards, jax.nn.softmax])
def test_the_same_is_computed_without_calls(function, draw):
    x = draw(5)
    program = inlined(jax.make_jaxpr(function)(x))
    names = {one.primitive.name for one in walk(program.jaxpr)}
    assert not names & CALLS and "optimization_barrier" not in names
    assert not any(
        one.params.get("reverse") for one in walk(program.jaxpr) if "jaxpr" in one.params
    )
    got, want = jax.extend.core.jaxpr_as_fun(program)(x), jax.tree.leaves(function(x))
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_first_inputs_become_constants(draw):
    x, y = draw(3), draw(3)
    program = inlined(jax.make_jaxpr(lambda x, y: x - nested(y))(x, y), [x])
    assert len(program.in_avals) == 1
    (got,) = jax.extend.core.jaxpr_as_fun(program)(y)
    np.testing.assert_allclose(got, x - nested(y), rtol=1e-6)
