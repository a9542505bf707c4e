"""Wrong settings of layers and models: each is refused in one line that names it.

A row is a call and good arguments, of which one at a time is replaced by what it must refuse.
Nothing is compiled, for no call gets beyond its checks.
"""

import jax.numpy as jnp
import pytest
from flax import nnx

from attention_jax import models, nn
from attention_jax.nn.spec_augment import Augment
from tests.repo.wrong_values import Row, assert_each_is_named, wrong

RNGS = nnx.Rngs(0)


def lm(**given):
    return models.TransformerLM(nn.TransformerConfig(**given), rngs=RNGS)


def pair(**given):
    return models.Seq2SeqTransformer(nn.TransformerConfig(**given), rngs=RNGS)


def rnn(**given):
    return models.Seq2SeqRNN(nn.RNNConfig(**given), rngs=RNGS)


def vit(image=None, **given):
    image = nn.ImageConfig(8, 8) if image is None else image
    return models.VisionTransformer(image, nn.TransformerConfig(**TRANSFORMER), rngs=RNGS, **given)


def text(**given):
    return models.TextEncoder(models.TextEncoderConfig(**given), rngs=RNGS)


def gru(**given):
    return models.Seq2SeqGRU(models.GRUConfig(**given), rngs=RNGS)


def whisper(**given):
    return models.whisper.whisper(models.WhisperConfig(**given), rngs=RNGS)


def vectors(**given):
    return models.VectorTransformer(models.VectorConfig(**given), rngs=RNGS)


def cnn(**given):
    return models.CNN(nn.ImageConfig(8, 8), models.CNNConfig(**given), rngs=RNGS)


def speech(**given):
    front, config = models.AudioFrontEnd(**given), nn.TransformerConfig(**TRANSFORMER)
    return models.SpeechTransformerEncoder(config, front, rngs=RNGS)


TRANSFORMER = nn.TransformerConfig(9, 4, 1, 2, 1, 4)._asdict()
RATES = {"dropout_rate": (0,), "attention_dropout_rate": (0,)}
OPTIONAL = RATES | {"kv_heads": (None,), "cross_attention": (None,), "context": ("x",)}
OPTIONAL |= {"norm_epsilon": (2.5,), "embedding_scale": (None,), "layer_scale": (2.5, None)}
VARIANT = {"variant": "attention", "cross_attention": "attention"}
ROWS = {
    "MultiHeadAttention": Row(
        nn.MultiHeadAttention,
        {
            "width": 4,
            "heads": 2,
            "kv_heads": 1,
            "variant": "dot",
            "rope": False,
            "dropout_rate": 0.1,
            "dtype": jnp.float32,
            "rngs": RNGS,
        },
        RATES | {"kv_heads": (None,)},
        VARIANT,
    ),
    "Linear": Row(nn.Linear, {"in_features": 2, "out_features": 3, "rngs": RNGS}),
    "Embedding": Row(
        nn.Embedding,
        {
            "vocabulary_size": 5,
            "width": 4,
            "positions": "learned",
            "max_length": 3,
            "scale": 2.0,
            "rngs": RNGS,
        },
        {"scale": (2.5, None)},
    ),
    "FeedForward": Row(
        nn.FeedForward,
        {
            "width": 4,
            "hidden": 5,
            "activation": "relu",
            "bias": False,
            "dropout_rate": 0.1,
            "dtype": jnp.float32,
            "rngs": RNGS,
        },
        RATES,
    ),
    "Stack": Row(
        nn.Stack,
        {"builds": [lambda rngs: None], "scan": False, "remat": False, "rngs": RNGS},
    ),
    "AttentionPooling": Row(
        nn.AttentionPooling,
        {"width": 4, "heads": 2, "variant": "dot", "dtype": "float32", "rngs": RNGS},
        names=VARIANT,
    ),
    "TransformerConfig": Row(lm, TRANSFORMER, OPTIONAL, VARIANT),
    "TransformerConfig of a pair": Row(pair, TRANSFORMER, OPTIONAL, VARIANT),
    "RNNConfig": Row(rnn, nn.RNNConfig(9, 4)._asdict(), RATES),
    "VisionTransformer": Row(
        vit,
        {"pooling": "mean", "stem": "linear", "registers": 1, "places": "axes", "head": False},
        {"registers": (0,)},
    ),
    "TextEncoderConfig": Row(
        text,
        {"transformer": nn.TransformerConfig(**TRANSFORMER), "token_types": 1, "pooler": False},
        {"token_types": (0,)},
    ),
    "GRUConfig": Row(gru, models.GRUConfig(9, 9, 4, 4)._asdict() | {"attentive": True}),
    "WhisperConfig": Row(
        whisper, models.WhisperConfig(nn.TransformerConfig(**TRANSFORMER), 4, 1, 2, 4, 3)._asdict()
    ),
    "VectorConfig": Row(
        vectors,
        {"transformer": nn.TransformerConfig(**TRANSFORMER), "decoder_layers": 1},
        {"decoder_layers": (None,)},
    ),
    "ImageConfig": Row(
        lambda **given: vit(nn.ImageConfig(**given)),
        {"height": 8, "width": 8, "channels": 1, "patch": 4},
    ),
    "CNNConfig": Row(cnn, models.CNNConfig(3)._asdict(), RATES),
    "AudioFrontEnd": Row(
        speech,
        {"features": 4, "halvings": 1, "pyramid": 1, "augment": Augment.none()},
        {"halvings": (0,), "pyramid": (0,)},
    ),
    "Augment": Row(
        lambda **given: Augment(**given).check(),
        Augment(time_warp=1)._asdict(),
        dict.fromkeys(Augment._fields, (0,)),
    ),
    "CTCHead": Row(
        models.CTCHead, {"width": 4, "vocabulary_size": 5, "dropout_rate": 0.1, "rngs": RNGS}, RATES
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_one_line_names_the_setting(name, users_errors):
    assert_each_is_named(ROWS[name])


def test_there_are_many():
    assert sum(1 for row in ROWS.values() for _ in wrong(row)) >= 650
