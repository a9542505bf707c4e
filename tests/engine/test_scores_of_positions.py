"""Scores that take positions: as in loops of float64, refused where kernels take dot products."""

import jax
import jax.numpy as jnp
import pytest

from attention_jax.core import checks, jaxprs, scores
from attention_jax.engine import pallas
from attention_jax.engine.request import make_request
from tests.engine import random_calls
from tests.engine.random_calls import Call

SIZES = (2, 5, 6, 2, 2, 4, 3)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["relative", "decay"])
@pytest.mark.parametrize("run", [("blockwise", (2, 3)), ("dense", None), ("reference", None)])
def test_output_tangent_and_gradient_are_those_of_loops(run, name):
    names = name, "soft cap", ("causal",), "softmax"
    call = Call(SIZES, names, (2, 1), rate=0.0, traced=False, dtype="float32", run=run)
    random_calls.check(0, {}, call)


def six(q, k, b, h, i, j):
    return q @ k * (i - j)


@pytest.mark.parametrize(
    ("score", "takes"),
    [
        (six, True),
        (lambda q, k, b, h, i, j, w=1: w, True),
        (lambda q, k: q @ k, False),
        (lambda *x: x[0] @ x[1], False),
        (lambda q, k, b=0, h=0, i=0, j=0: q @ k, False),
        (scores.scaled_dot, False),
        (scores.cosine(), False),
    ],
)
def test_the_signature_tells(score, takes):
    assert checks.takes_positions(score) == takes


def test_positions_that_do_not_matter_leave_a_dot_product():
    at = (jax.ShapeDtypeStruct((), jnp.int32),) * 4
    vector = jax.ShapeDtypeStruct((4,), jnp.float32)
    program = jax.make_jaxpr(lambda q, k, b, h, i, j: q @ k / 2)(vector, vector, *at)
    assert jaxprs.split_pair(program).dot_scale == 0.5


def test_kernels_refuse_them_by_reason(draw):
    q, k, v = draw(1, 4, 1, 8), draw(1, 4, 1, 8), draw(1, 4, 1, 8)
    request = make_request(
        q, k, v, score=lambda q, k, b, h, i, j: q @ k + jnp.where(i > j, q[0], 0)
    )
    assert "`score` is another function" in pallas.refuse(request)


def test_a_number_of_arguments_in_between_is_an_error(qkv, users_errors):
    with pytest.raises(ValueError, match=r"`score` is called with \(query, key\)"):
        make_request(*qkv, score=lambda q, k, i, j: q @ k)
