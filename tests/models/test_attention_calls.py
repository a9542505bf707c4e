"""Every model says where it attends: names, kinds and order of its calls."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from attention_jax import models
from attention_jax.data.types import ImageBatch, Seq2SeqBatch, SeriesBatch, TokenBatch
from attention_jax.nn.attention_calls import Attentive
from attention_jax.nn.patches import ImageConfig
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig

SIZES = TransformerConfig(9, width=8, layers=1, heads=2, feed_forward=8)
CELLS = RNNConfig(9, width=8)
IMAGE = ImageConfig(4, 4, 1, patch=2)
FRONT = models.AudioFrontEnd(features=3, halvings=1)

ONES = jnp.ones((2, 4))
TOKENS = jnp.ones((2, 4), jnp.int32)
PAIRS = Seq2SeqBatch(TOKENS, TOKENS > 0, TOKENS, TOKENS, ONES)
SPEECH = PAIRS._replace(source=jnp.ones((2, 8, 3)), source_mask=jnp.ones((2, 8), bool))
IMAGES = ImageBatch(jnp.ones((2, 4, 4, 1)), TOKENS[:, 0], ONES[:, 0])
TEXT = TokenBatch(TOKENS, TOKENS, ONES)
SERIES = SeriesBatch(jnp.ones((2, 4, 3)), ONES[:, 0], ONES[:, 0])


def ctc(rngs):
    encoder = models.SpeechTransformerEncoder(SIZES, FRONT, rngs=rngs)
    return models.CTCModel(encoder, models.CTCHead(8, 9, rngs=rngs))


def regressor(rngs):
    return models.SequenceRegressor(models.TransformerLM(SIZES, rngs=rngs), 3, rngs=rngs)


# Builder, batch, and the calls as "name kind".
CASES = {
    "seq2seq transformer": (
        lambda rngs: models.Seq2SeqTransformer(SIZES, rngs=rngs),
        PAIRS,
        [
            "encoder.layers.0.attention encoder",
            "decoder.layers.0.attention decoder",
            "decoder.layers.0.cross_attention cross",
        ],
    ),
    "seq2seq rnn": (
        lambda rngs: models.Seq2SeqRNN(CELLS, rngs=rngs),
        PAIRS,
        ["attention cross"],
    ),
    "rnn without attention": (
        lambda rngs: models.Seq2SeqRNN(CELLS._replace(attention="none"), rngs=rngs),
        PAIRS,
        [],
    ),
    "rnn with heads, below self-attention": (
        lambda rngs: models.Seq2SeqRNN(
            CELLS._replace(decoder_heads=2, self_attention=SIZES), rngs=rngs
        ),
        PAIRS,
        ["self_attention.layers.layers.0.attention encoder", "attention cross"],
    ),
    "seq2seq gru": (
        lambda rngs: models.Seq2SeqGRU(models.GRUConfig(9, 9, 8, 8), rngs=rngs),
        PAIRS,
        ["attention cross"],
    ),
    "text encoder": (
        lambda rngs: models.TextEncoder(models.TextEncoderConfig(SIZES), rngs=rngs),
        PAIRS,
        ["stack.layers.0.attention encoder"],
    ),
    "ctc": (ctc, SPEECH, ["encoder.layers.layers.0.attention encoder"]),
    "language transformer": (
        lambda rngs: models.TransformerLM(SIZES._replace(scan=True), rngs=rngs),
        TEXT,
        ["stack.layers.0.attention decoder"],
    ),
    "language rnn": (
        lambda rngs: models.RNNLM(CELLS._replace(attention="scaled_dot"), rngs=rngs),
        TEXT,
        ["attention decoder"],
    ),
    "regressor": (regressor, SERIES, ["body.stack.layers.0.attention decoder"]),
    "vision transformer": (
        lambda rngs: models.VisionTransformer(IMAGE, SIZES, pooling="attention", rngs=rngs),
        IMAGES,
        ["encoder.layers.0.attention encoder", "pool.attention cross"],
    ),
    "image rnn": (
        lambda rngs: models.ImageRNN(IMAGE, CELLS, rngs=rngs),
        IMAGES,
        ["pool.attention cross"],
    ),
    "cnn": (
        lambda rngs: models.CNN(IMAGE, models.CNNConfig(9, width=4), rngs=rngs),
        IMAGES,
        [],
    ),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("case", CASES)
def test_every_model_says_where_it_attends(case):
    build, batch, expected = CASES[case]
    model, calls = build(nnx.Rngs(0)), []
    assert isinstance(model, Attentive)
    graphdef, state = nnx.split(model)

    def inputs(state, batch):
        calls.extend(nnx.merge(graphdef, state).attention_calls(batch))
        return [call.x for call in calls]

    shapes = jax.eval_shape(inputs, state, batch)
    assert [f"{call.name} {call.kind}" for call in calls] == expected
    assert all(x.shape[0] == 2 and x.shape[-1] == 8 for x in shapes)
