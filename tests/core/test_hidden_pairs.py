"""A function of one pair: as it is where the pair is visible, without derivatives where hidden."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import hidden_pairs, positions, scores

X = dict(a=np.float32(0.5), w=np.arange(1, 5, dtype=np.float32), zeros=np.zeros(4, np.float32))

# Of a score, a distance, which is negative where the pair is hidden, and captured arrays.
WILD = {
    "logarithm": lambda s, n, x: s - x["a"] * jnp.log(1 + n),
    "root": lambda s, n, x: s - jnp.sqrt(x["a"] * (n + 1)),
    "quotient": lambda s, n, x: s / (x["a"] * (n + 1)),
    "table": lambda s, n, x: s + jnp.log(x["w"][n.astype(jnp.int32) + 1] - 1),
    "factor": lambda s, n, x: s * jnp.log(x["w"])[n.astype(jnp.int32) + 1] ** -0.5,
    "overflow": lambda s, n, x: s * jnp.exp(-200 * x["a"] * n),
    "products": lambda s, n, x: s + x["w"] @ (x["w"] ** (s - 1 / (n + 1))),
    "many products": lambda s, n, x: s * (jnp.outer(x["w"], x["w"]) @ (x["w"] / (n + 1))).sum(),
    "largest": lambda s, n, x: s + (x["w"] * jnp.log(n)).max(),
    "rule of its own": lambda s, n, x: s + jax.nn.softplus(x["a"] / (n + 1)),
    "branch": lambda s, n, x: s + jax.lax.cond(n > 9, jnp.sin, jnp.sqrt, x["a"] * (n + 1)),
    "loop": lambda s, n, x: jax.lax.fori_loop(0, 2, lambda _, y: y / (n + 1), s * x["a"]),
    "inner": lambda s, n, x: jax.jit(lambda y: jnp.sqrt(y - s + s * 0))(s * 0 + n + 1) * x["a"],
    "norm of a difference": lambda s, n, x: s - jnp.linalg.norm(x["zeros"] * n),
}
VISIBLE, HIDDEN = jnp.float32(1), jnp.float32(-1)


def traced(function):
    """The function as a program of score and distance that captures the arrays."""
    arrays, tree = jax.tree.flatten(jax.tree.map(jnp.asarray, X))
    whole = jax.make_jaxpr(lambda x, s, n: function(s, n, jax.tree.unflatten(tree, x)))
    jaxpr = whole(arrays, jnp.float32(0), jnp.float32(0)).jaxpr
    program = jax.make_jaxpr(lambda s, n: jax.core.eval_jaxpr(jaxpr, (), *arrays, s, n)[0])
    return program(jnp.float32(0), jnp.float32(0))


@pytest.mark.sampled(7)
@pytest.mark.parametrize("name", WILD)
def test_derivatives_are_those_of_visible_pairs(name):
    program = traced(WILD[name])
    assert hidden_pairs.needs_guard(program.jaxpr, finite=True)

    def of(visible):
        def function(captured, s, n):
            seen = jnp.asarray(visible)
            (x,) = hidden_pairs.evaluate(program.jaxpr, captured, (s, n), seen, finite=True)
            return jnp.where(seen, x, 0)

        return function

    def plain(captured, s, n):
        return jax.core.eval_jaxpr(program.jaxpr, captured, s, n)[0]

    given = program.consts, jnp.float32(0.7)
    if name != "norm of a difference":
        expected = jax.value_and_grad(plain, (0, 1))(*given, VISIBLE)
        got = jax.value_and_grad(of(True), (0, 1))(*given, VISIBLE)
        jax.tree.map(np.testing.assert_array_equal, got, expected)
    hidden = jax.grad(of(False), (0, 1))(*given, HIDDEN)
    assert not any(np.any(x) for x in jax.tree.leaves(hidden))


VECTOR, NUMBER, POSITION = (
    jax.ShapeDtypeStruct(*x) for x in (((4,), jnp.float32), ((), jnp.float32), ((), jnp.int32))
)
MATRIX, TABLE = jnp.ones((4, 4)), jnp.ones((2, 3, 5, 7))


def steps(i, j):
    return jnp.abs(i - j).astype(jnp.float32)


TAME = {
    "alibi": positions.alibi(heads=4),
    "slopes": lambda s, b, h, i, j: s - MATRIX[0, h] * steps(i, j),
    "soft cap": lambda s, b, h, i, j: 30 * jnp.tanh(s / 30),
    "bias": lambda s, b, h, i, j: s * MATRIX[0, 0] + TABLE[b, h, i % 5, j % 7],
    "distances": positions.by_distance(TABLE.transpose(0, 2, 1, 3), rows="queries"),
    "logarithm": lambda s, b, h, i, j: s - MATRIX[0, 0] * jnp.log1p(steps(i, j)),
    "guarded": lambda s, b, h, i, j: s - MATRIX[0, 0] * jnp.log(jnp.where(s > 0, s, 1)),
    "dot": scores.dot,
    "scaled": scores.scaled_dot,
    "cosine": scores.cosine(temperature=0.5),
    "general": scores.general(MATRIX),
    "additive": scores.additive(MATRIX, MATRIX, MATRIX[0]),
    "concat": scores.concat(jnp.ones((4, 8)), MATRIX[0]),
    "nearest": scores.distance(),
    "norms": lambda q, k: (q @ k) / jnp.sqrt(q @ q + 1e-6) * jax.lax.rsqrt(1 + k @ k),
}


@pytest.mark.parametrize("name", TAME)
def test_finite_derivatives_need_no_guard(name):
    of = (VECTOR, VECTOR) if name in list(TAME)[7:] else (NUMBER, *[POSITION] * 4)
    program = jax.make_jaxpr(TAME[name])(*of)
    assert not hidden_pairs.needs_guard(program.jaxpr, finite=True)
