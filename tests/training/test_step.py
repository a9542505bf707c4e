"""The state before the first update, and the helpers of updates; `test_loop` has the updates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from attention_jax.models.seq2seq_rnn import Seq2SeqRNN
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["transformer", "rnn"])
def test_the_first_state_is_that_of_one_program(kind):
    """To the last bit: drawing operation by operation changes no parameter."""

    def build(key):
        if kind == "rnn":
            return Seq2SeqRNN(RNNConfig(19, width=16, attention="additive"), rngs=nnx.Rngs(key))
        config = TransformerConfig(19, width=16, heads=2, feed_forward=24, layers=2)
        return Seq2SeqTransformer(config, rngs=nnx.Rngs(key))

    graph, got = step.start(build, optax.adam(0.1), 4)
    own_graph, make = step.begin(build, optax.adam(0.1), 4)
    want = jax.jit(make)()
    assert graph == own_graph and jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_donated_state_holds_no_buffer_twice():
    _, state = step.start(build, optax.adam(0.1), 4)
    pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state)]
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
