"""The products of a chunk whose channels decay, beside loops over pairs of positions."""

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from attention_jax.variants._builders.channel_decay import faded


def given(n, x=2, y=3, d=4, strongest=3.0):
    random = np.random.default_rng(n)
    rows, keys = (random.standard_normal((2, kinds, n, d)) for kinds in (x, y))
    return rows, keys, -strongest * random.random((2, n, d))


def by_loops(rows, keys, log_decay):
    (b, x, n, _), y = rows.shape, keys.shape[1]
    pairs = np.zeros((b, x, n, y, n))
    faded_rows, faded_keys = np.zeros_like(rows), np.zeros_like(keys)
    for at in range(b):
        for i in range(n):
            faded_rows[at, :, i] = rows[at, :, i] * np.exp(log_decay[at, : i + 1].sum(0))
            faded_keys[at, :, i] = keys[at, :, i] * np.exp(log_decay[at, i + 1 :].sum(0))
            for j in range(i + 1):
                between = np.exp(log_decay[at, j + 1 : i + 1].sum(0))
                for one in range(x):
                    for other in range(y):
                        product = rows[at, one, i] * between * keys[at, other, j]
                        pairs[at, one, i, other, j] = product.sum()
    return pairs, faded_rows, faded_keys, np.exp(log_decay.sum(1))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 13, 16])
def test_products_are_those_of_loops_for_any_number_of_positions(n):
    data = given(n)
    found = faded(*(jnp.asarray(x, jnp.float32) for x in data))
    for ours, theirs in zip(found, by_loops(*data), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("strongest", [0.0, 40.0, 1e4, np.inf])
def test_no_decay_is_too_strong_for_values_or_gradients(strongest):
    rows, keys, log_decay = given(8, strongest=1.0)
    log_decay = np.where(log_decay < -0.5, -strongest, 0.0)
    data = [jnp.asarray(x, jnp.float32) for x in (rows, keys, log_decay)]
    for ours, theirs in zip(faded(*data), by_loops(rows, keys, log_decay), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)

    def summed(*data):
        return sum((x**2).sum() for x in faded(*data))

    assert all(np.isfinite(x).all() for x in jax.grad(summed, argnums=(0, 1, 2))(*data))


def test_gradients_are_finite_differences():
    data = given(5)
    with jax.enable_x64():
        wide = [jnp.asarray(x, jnp.float64) for x in data]

        def summed(*data):
            return sum(jnp.sin(x).sum() for x in faded(*map(jnp.asarray, data)))

        jax.test_util.check_grads(summed, wide, order=1, modes=("rev",), eps=1e-5)
