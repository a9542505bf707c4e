"""The calls that are recorded are those of the forward pass, and leave the model as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.core import masks
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn.attention_calls import record
from attention_jax.nn.transformer import TransformerConfig

SIZES = {"width": 8, "layers": 2, "heads": 2, "feed_forward": 8}
SOURCE, TARGET = jnp.int32([[4, 5, 6]]), jnp.int32([[1, 7]])


def run(model):
    return model.decode(TARGET, model.encode(SOURCE, SOURCE > 0))


def build(**changes):
    return Seq2SeqTransformer(TransformerConfig(9, **(SIZES | changes)), rngs=nnx.Rngs(0))


def traced(model):
    """The calls without their numbers, and the shapes of what comes out of a trace."""
    graphdef, state = nnx.split(model)
    calls = []

    def inputs(state):
        calls.extend(record(nnx.merge(graphdef, state), run))
        return [call.x for call in calls]

    return calls, jax.eval_shape(inputs, state)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("changes", [{}, {"scan": True}, {"remat": True}], ids=str)
def test_calls_come_in_the_order_of_the_forward_pass(changes):
    model = build(**changes)
    before = nnx.graphdef(model)
    calls, shapes = traced(model)
    assert [(call.name, call.kind) for call in calls] == [
        ("encoder.layers.0.attention", "encoder"),
        ("encoder.layers.1.attention", "encoder"),
        ("decoder.layers.0.attention", "decoder"),
        ("decoder.layers.0.cross_attention", "cross"),
        ("decoder.layers.1.attention", "decoder"),
        ("decoder.layers.1.cross_attention", "cross"),
    ]
    assert calls[2].mask is masks.causal and calls[2].memory is None
    assert calls[3].memory.shape == (1, 3, 8)
    # Nothing stays inside a loop, from which it could not be returned.
    assert [x.shape for x in shapes] == [(1, 3, 8)] * 2 + [(1, 2, 8)] * 4
    assert nnx.graphdef(model) == before, "the model itself stays as it was"


@pytest.mark.slow
def test_a_call_holds_what_the_module_was_given():
    model = build(layers=1)
    own, _, cross = record(model, run)
    (layer,) = model.encoder.each()
    x = model.embedding(SOURCE)
    np.testing.assert_array_equal(own.x, layer.around_attention.norm(x))
    np.testing.assert_array_equal(cross.memory, model.encode(SOURCE, SOURCE > 0).states)


def test_nothing_is_called_nothing_is_recorded():
    assert list(record(build(layers=1), lambda model: None)) == []
