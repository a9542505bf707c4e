"""Matrix products of a program: each is found, as often as it runs, and timed by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmark import products
from experiments.benchmark.products import Product


def counted(function, *args):
    return products.found(jax.make_jaxpr(function)(*args).jaxpr)


def test_products_of_a_layer_and_its_gradient():
    """x W forward; for the gradient x^T g, and g W^T where x is wanted too."""
    x, w = jnp.ones((5, 3)), jnp.ones((3, 7))
    loss = lambda x, w: jnp.sin(x @ w).sum()  # noqa: E731
    found, complete = counted(jax.grad(loss, (0, 1)), x, w)
    expected = {(1, 5, 3, 7): 1, (1, 3, 5, 7): 1, (1, 3, 7, 5): 1}
    assert {product[:4]: count for product, count in found.items()} == expected and complete
    assert sum(product.flops * count for product, count in found.items()) == 3 * 2 * 5 * 3 * 7


def test_batches_and_products_of_several_axes():
    q, k = jnp.ones((2, 6, 4, 8)), jnp.ones((2, 9, 4, 8))
    found, _ = counted(lambda q, k: jnp.einsum("bthd,bshd->bhts", q, k), q, k)
    assert list(found) == [Product(8, 6, 8, 9, "float32")]
    found, _ = counted(lambda q, k: jnp.tensordot(q, k, ([2, 3], [2, 3])), q, k)
    assert list(found) == [Product(1, 12, 32, 18, "float32")]


def test_loops_count_as_often_as_they_run():
    w = jnp.ones((4, 4))

    def scanned(x):
        return jax.lax.scan(lambda x, _: (jax.jit(jnp.matmul)(x, w), None), x, length=6)[0]

    assert counted(scanned, w) == ({Product(1, 4, 4, 4, "float32"): 6}, True)

    def until(x):
        return jax.lax.while_loop(lambda x: x.sum() < 10, lambda x: x @ w, x)

    assert counted(until, w) == ({Product(1, 4, 4, 4, "float32"): 1}, False)
    idle = lambda x: jax.lax.while_loop(lambda x: x < 10, lambda x: x + 1, x)  # noqa: E731
    assert counted(idle, 0) == ({}, True)


def test_of_branches_the_longest_counts():
    w = jnp.ones((4, 4))
    chosen = lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ w @ w, lambda x: x @ w, x)  # noqa: E731
    assert counted(chosen, w)[0] == {Product(1, 4, 4, 4, "float32"): 2}


def test_a_convolution_is_the_product_that_it_unfolds_to():
    """2 images of 8 x 8 to 4 x 4 places, each from 3 x 3 pixels of 5 channels to 7."""
    x, kernel = jnp.ones((2, 8, 8, 5)), jnp.ones((3, 3, 5, 7))
    convolve = lambda x, kernel: jax.lax.conv_general_dilated(  # noqa: E731
        x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    found, _ = counted(convolve, x, kernel)
    assert list(found) == [Product(1, 7, 45, 32, "float32")]


@pytest.mark.parametrize("batch", [1, 3])
def test_all_layouts_are_tried_and_the_fastest_counts(monkeypatch, batch):
    specs, seconds = [], iter((8.0, 7.0, 6.0, 5.0, 1.0, 4.0, 3.0, 2.0))

    def program(spec, x, y):
        specs.append(spec)
        product = np.asarray(jnp.einsum(spec, x, y))
        assert product.size == batch * 2 * 4
        return spec

    monkeypatch.setattr(products, "_program", program)
    monkeypatch.setattr(products, "_best", lambda program, *args: next(seconds))
    assert products.best_seconds(Product(batch, 2, 3, 4, "float32")) == 1.0
    assert len(set(specs)) == 8 and ("bkm,bnk->bnm" if batch > 1 else "km,nk->nm") in specs


def test_a_limit_is_the_sum_of_all_products(monkeypatch):
    monkeypatch.setattr(products, "_best", lambda program, *args: 0.25)
    monkeypatch.setattr(products, "best_seconds", lambda product: product.n + 0.25)
    x, w = jnp.ones((2, 3)), jnp.ones((3, 4))
    found = products.limit(lambda x, w: (x @ w, x @ w, x @ x.T), x, w)
    assert found == (4 + 4 + 2, 2 * 2 * (24 + 24 + 12) / 2, 3, 2, True)
