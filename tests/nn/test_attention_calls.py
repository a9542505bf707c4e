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


def test_calls_come_in_the_order_of_the_forward_pass():
    calls = list(record(build(), run))
    assert [(call.name, call.kind) for call in calls] == [
        ("encoder.layers.0.attention", "encoder"),
        ("encoder.layers.1.attention", "encoder"),
        ("decoder.layers.0.attention", "decoder"),
        ("decoder.layers.0.cross_attention", "cross"),
        ("decoder.layers.1.attention", "decoder"),
        ("decoder.layers.1.cross_attention", "cross"),
    ]
    assert calls[2].mask is masks.causal and calls[2].memory is None
    assert calls[3].x.shape == (1, 2, 8) and calls[3].memory.shape == (1, 3, 8)


def test_a_call_holds_what_the_module_was_given():
    model = build(layers=1)
    own, _, cross = record(model, run)
    layer = model.encoder.each()[0]
    x = model.embedding(SOURCE)
    np.testing.assert_array_equal(own.x, layer.around_attention.norm(x))
    memory = model.encode(SOURCE, SOURCE > 0)
    np.testing.assert_array_equal(cross.memory, memory.states)


@pytest.mark.parametrize("changes", [{"scan": True}, {"remat": True}], ids=str)
def test_stacks_are_unrolled_in_a_copy(changes):
    model = build(**changes)
    before = run(model)
    graphdef, state = nnx.split(model)

    @jax.jit
    def inputs(state):
        return [call.x for call in record(nnx.merge(graphdef, state), run)]

    found = inputs(state)
    assert len(found) == 6
    names = [call.name for call in record(model, run)]
    assert names[-1] == "decoder.layers.1.cross_attention"
    np.testing.assert_array_equal(run(model), before)
    assert nnx.graphdef(model) == graphdef, "the model itself stays as it was"


def test_nothing_is_called_nothing_is_recorded():
    assert list(record(build(layers=1), lambda model: None)) == []
