"""Encoders of texts: what padding, types and poolings mean."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.data.types import Seq2SeqBatch
from attention_jax.models.text_encoder import TextEncoder, TextEncoderConfig
from attention_jax.nn.transformer import TransformerConfig
from tests.support.equations import linear, numbers


def build(**choices):
    own = {"layers": 2, "heads": 2, "feed_forward": 12, "positions": "learned", "max_length": 10}
    config = TextEncoderConfig(TransformerConfig(19, 8, **own), **choices)
    return TextEncoder(config, rngs=nnx.Rngs(0))


@pytest.fixture
def text():
    tokens = np.random.default_rng(0).integers(4, 19, (2, 6))
    return jnp.asarray(tokens), jnp.arange(6)[None] < jnp.asarray([[6], [4]])


def test_padding_changes_nothing(text):
    model, (tokens, mask) = build(), text
    whole = model.states(tokens, mask)
    alone = model.states(tokens[1:, :4], mask[1:, :4])
    np.testing.assert_allclose(whole[1:, :4], alone, rtol=1e-5, atol=1e-6)
    for pooling in ("mean", "first"):
        pooled = model.vectors(tokens, mask, pooling=pooling)
        own = model.vectors(tokens[1:, :4], mask[1:, :4], pooling=pooling)
        np.testing.assert_allclose(pooled[1:], own, rtol=1e-5, atol=1e-6)


def test_a_vector_is_pooled_from_states(text):
    model, (tokens, mask) = build(pooler=True), text
    states = np.asarray(model.states(tokens, mask), np.float64)
    wanted = np.stack([states[0].mean(0), states[1, :4].mean(0)])
    np.testing.assert_allclose(model.vectors(tokens, mask), wanted, rtol=1e-5, atol=1e-6)
    first = model.vectors(tokens, mask, pooling="first")
    np.testing.assert_allclose(first, states[:, 0], rtol=1e-5, atol=1e-6)
    pooled = model.vectors(tokens, mask, pooling="pooler")
    wanted = np.tanh(linear(model.pooler, states[:, 0]))
    np.testing.assert_allclose(pooled, wanted, rtol=1e-5, atol=1e-6)


def test_types_add_a_vector_each(text):
    model, (tokens, mask) = build(token_types=2), text
    np.testing.assert_array_equal(
        model.states(tokens, mask), model.states(tokens, mask, types=jnp.zeros_like(tokens))
    )
    other = model.states(tokens, mask, types=jnp.ones_like(tokens))
    table = numbers(model.types.embedding)
    model.types.embedding[...] = jnp.asarray(table[::-1], jnp.float32)
    np.testing.assert_array_equal(model.states(tokens, mask), other)
    assert np.abs(np.asarray(other - build(token_types=2).states(tokens, mask))).max() > 1e-3


def test_every_attention_is_recorded(text):
    tokens, mask = text
    batch = Seq2SeqBatch(tokens, mask, tokens, tokens, jnp.ones((2, 6)))
    calls = list(build().attention_calls(batch))
    assert [call.kind for call in calls] == ["encoder", "encoder"]


def test_what_the_model_has_not_is_refused(text):
    model, (tokens, mask) = build(), text
    with pytest.raises(ValueError, match="`types` must be left out"):
        model.states(tokens, mask, types=tokens)
    with pytest.raises(ValueError, match="`pooling` must be mean or first"):
        model.vectors(tokens, mask, pooling="pooler")
    with pytest.raises(ValueError, match="`pooling` must be one of 'mean', 'first', 'pooler'"):
        model.vectors(tokens, mask, pooling="last")
    with pytest.raises(ValueError, match="`token_types` must be"):
        build(token_types=-1)
