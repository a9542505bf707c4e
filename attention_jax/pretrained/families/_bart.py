"""Parts that Marian, M2M-100 and mBART share: the names of BART, for an encoder and a decoder.

They differ in where norms stand, and in their positions.

Names: `transformers`, `BartForConditionalGeneration`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from attention_jax.core.sinusoids import Sinusoids
from attention_jax.models import seq2seq
from attention_jax.models.seq2seq import Seq2SeqConfig
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained.families._parts import (
    ACTIVATIONS,
    linear,
    norm,
    refused,
    sides,
    word,
)
from attention_jax.pretrained.types import (
    Described,
    Family,
    Form,
    Rule,
    Settings,
    Special,
    Tensor,
)

EPSILON = 1e-5
SIDES = ("encoder", "decoder")
_OFFSET = 2  # rows of learned positions that nothing reads
_PARTS = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}


class Kind(NamedTuple):
    """How a family differs from the others.

    Attributes:
      name: its `model_type`.
      architecture: the class of `transformers`.
      norm: where norms stand.
      positions: "sinusoidal" or "learned".
      sinusoids: their form.
      embedding_norm: whether vectors are normed before the first layer.
      output_bias: whether logits have a bias, `final_logits_bias`.
      activation: where a config.json says none.
      fixed: keys of a config.json, and the value that all of the family have.
    """

    name: str
    architecture: str
    norm: str
    positions: str = "sinusoidal"
    sinusoids: Sinusoids = Sinusoids()
    embedding_norm: bool = False
    output_bias: bool = False
    activation: str = "relu"
    fixed: tuple[tuple[str, Any], ...] = (("tie_word_embeddings", True),)

    @property
    def shared(self) -> dict[str, Any]:
        """Fields that all configurations of the family have."""
        return {
            "norm": self.norm,
            "positions": self.positions,
            "sinusoids": self.sinusoids,
            "embedding_norm": self.embedding_norm,
            "norm_epsilon": EPSILON,
        }


def family(kind: Kind, *, ignored: Sequence[str] = ()) -> Family:
    """The family of a kind."""
    return Family(
        name=kind.name,
        model_types=(kind.name,),
        config=partial(config, kind),
        build=lambda config, rngs: seq2seq.build(config, rngs=rngs),
        rules=partial(rules, kind),
        special=special,
        described=partial(described, kind),
        prefix="model.",
        bare=("final_logits_bias", "lm_head.weight"),
        ignored=(r"lm_head\.weight", r"(encoder|decoder)\.embed_tokens\.weight", *ignored),
    )


def config(kind: Kind, settings: Settings) -> Seq2SeqConfig:
    """Our configuration of a config.json."""
    for key, value in kind.fixed:
        settings.refuse(key, (value,))
    return Seq2SeqConfig(*(_side(kind, settings, name) for name in SIDES))


def _side(kind: Kind, settings: Settings, name: str) -> TransformerConfig:
    return TransformerConfig(
        settings.need("vocab_size"),
        settings.need("d_model"),
        layers=settings.need(f"{name}_layers"),
        heads=settings.need(f"{name}_attention_heads"),
        feed_forward=settings.need(f"{name}_ffn_dim"),
        activation=settings.choose("activation_function", ACTIVATIONS, kind.activation),
        max_length=settings.get("max_position_embeddings", 1024),
        dropout_rate=settings.get("dropout", 0.1),
        attention_dropout_rate=settings.get("attention_dropout", 0.0),
        embedding_scale=None if settings.get("scale_embedding", False) else 1.0,
        output_bias=kind.output_bias,
        **kind.shared,
    )


def described(kind: Kind, config: Seq2SeqConfig) -> Described:
    """The config.json of our configuration.

    Raises:
      ValueError: no model of the family is so.
    """
    encoder, own = both = sides(config, kind.name)
    for side in both:
        refused(side, kind.name, **kind.shared, norm_kind="layer", biases="all", tied=True)
        refused(side, kind.name, qk_norm=False, kv_heads=None, head_width=None, value_width=None)
        refused(side, kind.name, recurrence=None, attention="scaled_dot", cross_attention=None)
    refused(encoder, kind.name, activation=own.activation, max_length=own.max_length)
    return {
        "model_type": kind.name,
        "architectures": [kind.architecture],
        "is_encoder_decoder": True,
        "vocab_size": own.vocabulary_size,
        "d_model": own.width,
        "activation_function": word(ACTIVATIONS, own.activation, "activation"),
        "max_position_embeddings": own.max_length,
        "dropout": own.dropout_rate,
        "attention_dropout": own.attention_dropout_rate,
        "scale_embedding": _is_scaled(kind, own),
        **dict(kind.fixed),
        **{
            f"{name}_{theirs}": getattr(side, ours)
            for name, side in zip(SIDES, both, strict=True)
            for theirs, ours in (
                ("layers", "layers"),
                ("attention_heads", "heads"),
                ("ffn_dim", "feed_forward"),
            )
        },
    }


def _is_scaled(kind: Kind, config: TransformerConfig) -> bool:
    root = config.width**0.5
    if config.embedding_scale in (None, root):
        return True
    refused(config, kind.name, embedding_scale=1.0)
    return False


def rules(kind: Kind, config: Seq2SeqConfig) -> list[Rule]:
    """The table of names."""
    encoder, decoder = sides(config, kind.name)
    found = [Rule("shared.weight", "embedding/table/embedding")]
    if kind.output_bias:
        flat = Form(lambda x: x[0], lambda x: x[None])
        found += [Rule("final_logits_bias", "output_bias", before=flat)]
    if kind.positions == "learned":
        scale = decoder.embedding_scale or decoder.width**0.5
        found += [
            Rule("encoder.embed_positions.weight", "encoder/learned/embedding", _after_offset(1.0)),
            Rule(
                "decoder.embed_positions.weight",
                "embedding/learned/embedding",
                _after_offset(1 / scale),
            ),
        ]
    if kind.embedding_norm:
        found += norm("encoder.layernorm_embedding", "encoder/embedding_norm")
        found += norm("decoder.layernorm_embedding", "embedding_norm")
    if kind.norm == "pre":
        found += norm("encoder.layer_norm", "encoder/norm")
        found += norm("decoder.layer_norm", "decoder_norm")
    for n in range(encoder.layers):
        found += _layer(f"encoder.layers.{n}", f"encoder/layers/layers/{n}")
    for n in range(decoder.layers):
        theirs, ours = f"decoder.layers.{n}", f"decoder/layers/{n}"
        found += _layer(theirs, ours)
        found += _attention(theirs, ours, "encoder_attn", "cross_attention")
    return found


def _layer(theirs: str, ours: str) -> list[Rule]:
    return [
        *_attention(theirs, ours, "self_attn", "attention"),
        *linear(f"{theirs}.fc1", f"{ours}/feed_forward/up"),
        *linear(f"{theirs}.fc2", f"{ours}/feed_forward/down"),
        *norm(f"{theirs}.final_layer_norm", f"{ours}/around_feed_forward/norm"),
    ]


def _attention(theirs: str, ours: str, their_part: str, our_part: str) -> list[Rule]:
    found = norm(f"{theirs}.{their_part}_layer_norm", f"{ours}/around_{our_part}/norm")
    for name, own in _PARTS.items():
        found += linear(f"{theirs}.{their_part}.{name}", f"{ours}/{our_part}/{own}")
    return found


def _after_offset(factor: float) -> Form:
    """Learned positions, which `transformers` counts from 2, and adds unscaled to scaled tokens."""

    def write(ours: Tensor) -> Tensor:
        return np.concatenate([np.zeros_like(ours[:_OFFSET]), ours / factor])

    return Form(lambda x: x[_OFFSET:] * factor, write)


def special(settings: Settings) -> Special:
    """The special tokens; a decoder begins with `decoder_start_token_id`."""
    end = settings.need("eos_token_id")
    begin = settings.get("decoder_start_token_id", end)
    return Special(settings.get("pad_token_id"), begin, end, settings.get("unk_token_id"))
