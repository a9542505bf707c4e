"""Wrong settings of public constructors and functions: each is refused in one line that names it.

A row is a call and good arguments, of which one at a time is replaced by what it must refuse.
Nothing is compiled, for no call gets beyond its checks.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import pytest
from flax import nnx

from attention_jax import models, nn
from attention_jax.nn.spec_augment import Augment

RNGS = nnx.Rngs(0)
# By the type of the good argument; what a setting takes beyond that stands in its row.
WRONG = {
    int: (0, -1, 2.5, math.nan, None, "x", True, [1]),
    float: (-1, 2.5, math.nan, None, "x", True, [1]),
    bool: (0, 2, 2.5, None, "x", [1]),
    str: (0, 2.5, None, "x", True, [1]),
    type(None): ("x", True, [1]),
}
ANYTHING_ELSE = (0, None, "x", [1])


class Row(NamedTuple):
    """A call, good arguments, values that an argument takes beside its good one, other names."""

    call: object
    good: dict
    takes: dict = {}
    names: dict = {}


def lm(**given):
    return models.TransformerLM(nn.TransformerConfig(**given), rngs=RNGS)


def pair(**given):
    return models.Seq2SeqTransformer(nn.TransformerConfig(**given), rngs=RNGS)


def rnn(**given):
    return models.Seq2SeqRNN(nn.RNNConfig(**given), rngs=RNGS)


def vit(image=None, **given):
    image = nn.ImageConfig(8, 8) if image is None else image
    return models.VisionTransformer(image, nn.TransformerConfig(**TRANSFORMER), rngs=RNGS, **given)


def cnn(**given):
    return models.CNN(nn.ImageConfig(8, 8), models.CNNConfig(**given), rngs=RNGS)


def speech(**given):
    front, config = models.AudioFrontEnd(**given), nn.TransformerConfig(**TRANSFORMER)
    return models.SpeechTransformerEncoder(config, front, rngs=RNGS)


TRANSFORMER = nn.TransformerConfig(9, 4, 1, 2, 1, 4)._asdict()
RATES = {"dropout_rate": (0,), "attention_dropout_rate": (0,)}
OPTIONAL = RATES | {"kv_heads": (None,), "cross_attention": (None,)}
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
        {"vocabulary_size": 5, "width": 4, "positions": "learned", "max_length": 3, "rngs": RNGS},
    ),
    "FeedForward": Row(
        nn.FeedForward,
        {
            "width": 4,
            "hidden": 5,
            "activation": "relu",
            "dropout_rate": 0.1,
            "dtype": jnp.float32,
            "rngs": RNGS,
        },
        RATES,
    ),
    "Stack": Row(
        nn.Stack,
        {"build": lambda rngs: None, "depth": 2, "scan": False, "remat": False, "rngs": RNGS},
    ),
    "AttentionPooling": Row(
        nn.AttentionPooling,
        {"width": 4, "heads": 2, "variant": "dot", "dtype": "float32", "rngs": RNGS},
        names=VARIANT,
    ),
    "TransformerConfig": Row(lm, TRANSFORMER, OPTIONAL, VARIANT),
    "TransformerConfig of a pair": Row(pair, TRANSFORMER, OPTIONAL, VARIANT),
    "RNNConfig": Row(rnn, nn.RNNConfig(9, 4)._asdict(), RATES),
    "VisionTransformer": Row(vit, {"pooling": "mean", "stem": "linear"}),
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


def wrong(row):
    """Each argument of a row with each value that it must refuse."""
    for name, good in row.good.items():
        for value in WRONG.get(type(good), ANYTHING_ELSE):
            taken = row.takes.get(name, ())
            if not any(value is x for x in taken) and not (value == good and value is not True):
                yield name, value


@pytest.mark.parametrize("name", ROWS)
def test_one_line_names_the_setting(name, users_errors):
    row = ROWS[name]
    for argument, value in wrong(row):
        with pytest.raises((ValueError, TypeError)) as caught:
            row.call(**(row.good | {argument: value}))
        said = str(caught.value)
        known = argument, row.names.get(argument, argument)
        assert any(f"`{word}`" in said for word in known), (argument, value, said)
        assert "\n" not in said and len(said) < 400, (argument, value, said)
        # The last frame is ours, so the words are too.
        assert "attention_jax" in str(caught.traceback[-1].path), (argument, value, said)


def test_there_are_many():
    assert sum(1 for row in ROWS.values() for _ in wrong(row)) >= 500
