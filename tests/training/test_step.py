"""The state before the first update, and the helpers of updates; `test_loop` has the updates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from attention_jax.training import step


def build(key):
    return nnx.Linear(3, 2, rngs=nnx.Rngs(key))


@pytest.mark.slow
def test_the_first_state_is_that_of_the_seed():
    (graph, first), (_, again), (_, other) = (
        step.start(build, optax.adam(0.1), seed) for seed in (4, 4, 5)
    )
    key = jax.random.key(4, impl=step.GENERATOR)
    want = nnx.as_pure(nnx.state(build(key)))
    np.testing.assert_allclose(first.params["kernel"], want["kernel"], rtol=1e-6)
    np.testing.assert_array_equal(first.params["kernel"], again.params["kernel"])
    assert (first.params["kernel"] != other.params["kernel"]).any()
    np.testing.assert_array_equal(first.key, jax.random.key_data(key))
    assert int(first.step) == 0 and first.totals == step.Totals.zero()
    assert nnx.merge(graph, first.params)(jnp.ones((1, 3))).shape == (1, 2)


def test_a_donated_state_holds_no_buffer_twice():
    pointers = [x.unsafe_buffer_pointer() for x in step.Totals.zero()]
    assert len(set(pointers)) == len(pointers)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["a", "b"])
def test_one_number_that_is_not_finite_is_found(bad, where):
    tree = {"a": jnp.ones(3), "b": {"c": jnp.ones((2, 2))}}
    assert step.all_finite(tree) and step.all_finite({})
    leaf = tree["a"] if where == "a" else tree["b"]["c"]
    worse = leaf.at[(1,) * leaf.ndim].set(bad)
    tree |= {"a": worse} if where == "a" else {"b": {"c": worse}}
    assert not step.all_finite(tree)


def test_zeros_have_shapes_and_dtypes():
    tree = {"a": jnp.ones(3, jnp.bfloat16), "b": jnp.ones((2, 1))}
    got = step.zeros(tree)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), got) == jax.tree.map(
        lambda x: (x.shape, x.dtype), tree
    )
    assert not any(x.any() for x in jax.tree.leaves(got))
