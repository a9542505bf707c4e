"""Budgets: the nearest width by enumeration, operations by hand."""

import jax
import jax.numpy as jnp
import pytest

from attention_jax.evaluation import budgets


@pytest.mark.parametrize("target", [1, 5, 99, 1000, 4242, 99_999])
@pytest.mark.parametrize("multiple", [1, 2, 6])
def test_the_width_is_the_nearest_of_all(target, multiple):
    def size(width):
        return 3 * width**2 + 7 * width

    found = budgets.nearest_width(size, target, multiple=multiple)
    every = range(multiple, 400, multiple)
    assert found == min(every, key=lambda width: (abs(size(width) - target), width))


@pytest.mark.parametrize(
    ("size", "arguments", "message"),
    [
        (lambda width: 1, {"target": 2}, "within reach; 2 needs"),
        (lambda width: width, {"target": 0}, "`target` must be .* at least 1; got 0"),
        (
            lambda width: width,
            {"target": 3, "multiple": 0},
            "`multiple` must be .* at least 1; got 0",
        ),
    ],
)
def test_bad_targets_are_named(size, arguments, message):
    with pytest.raises(ValueError, match=message):
        budgets.nearest_width(size, **arguments)


def test_the_widest_of_all_is_within_reach_and_no_wider():
    assert budgets.nearest_width(lambda width: width, 2**16) == 2**16
    with pytest.raises(ValueError, match="needs a width > 65536"):
        budgets.nearest_width(lambda width: width, 2**16 + 1)


def test_a_product_takes_two_operations_a_number():
    a, b = jnp.ones((8, 16)), jnp.ones((16, 4))
    assert budgets.flops(lambda a, b: a @ b, a, b) == 2 * 8 * 16 * 4


def test_loops_count_as_often_as_they_run():
    w, x = jnp.ones((16, 16)), jnp.ones((4, 16))
    product = 2 * 4 * 16 * 16

    def inner(c, _):
        return jax.lax.scan(lambda c, _: (c @ w, None), c, None, length=3)[0], None

    @jax.jit
    def nested(x):
        return jax.lax.scan(inner, x @ w, None, length=5)[0]

    # The counters of the loops add a few.
    assert budgets.flops(nested, x) == pytest.approx((1 + 3 * 5) * product, rel=0.01)


def test_a_gradient_through_a_loop_is_that_of_the_loop_unrolled():
    w, x = jnp.ones((16, 16)), jnp.ones((4, 16))

    def loss(w, x, unrolled):
        if unrolled:
            for _ in range(6):
                x = jnp.sin(x @ w)
        else:
            x = jax.lax.scan(lambda c, _: (jnp.sin(c @ w), None), x, None, length=6)[0]
        return x.sum()

    def operations(unrolled):
        return budgets.flops(jax.grad(lambda w, x: loss(w, x, unrolled)), w, x)

    assert operations(False) == pytest.approx(operations(True), rel=0.1)
