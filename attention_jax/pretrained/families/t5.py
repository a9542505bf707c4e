"""T5, mT5 and ByT5: RMS norm first, no biases, a bias of distance that all layers share.

Here each layer has a table of distances of its own, scores are divided by the root of a head's
width, and a tied table gives logits as it is. So the one table of theirs is every layer's, and both
factors stand in weights: the first in maps to queries, the second in the last norm's gain.

References: Raffel et al. 2020, arXiv:1910.10683; gated: Shazeer 2020, arXiv:2002.05202; Xue et al.
2021, arXiv:2010.11934; Xue et al. 2022, arXiv:2105.13626; names: `transformers`,
`T5ForConditionalGeneration` and `MT5ForConditionalGeneration`.
"""

import re
from typing import Any

import numpy as np

from attention_jax import variants
from attention_jax.models import seq2seq
from attention_jax.models.seq2seq import Seq2SeqConfig
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained.families._parts import linear, norm, refused, sides, word
from attention_jax.pretrained.types import (
    SAME,
    TRANSPOSED,
    Described,
    Family,
    Form,
    Rule,
    Settings,
    Special,
    Tensor,
    scaled,
    then,
)

_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "silu": "swish",
    "gated-gelu": "geglu_tanh",
    "gated-silu": "swiglu",
}
_GATED = ("geglu_tanh", "swiglu")
_BUCKETS, _FARTHEST = "relative_attention_num_buckets", "relative_attention_max_distance"
_BIAS = re.compile(r"t5_bias\(buckets=(\d+), max_distance=(\d+), bidirectional=(True|False)\)")
_HEAD = "lm_head.weight"
_PARTS = {"q": "query", "k": "key", "v": "value", "o": "out"}
_SHARED: dict[str, Any] = {
    "norm": "pre",
    "norm_kind": "rms",
    "biases": "none",
    "positions": "none",
    "embedding_scale": 1.0,
}


def config(settings: Settings) -> Seq2SeqConfig:
    """Our configuration of a config.json."""
    layers = settings.need("num_layers")
    return Seq2SeqConfig(
        _side(settings, layers, both_ways=True),
        _side(settings, settings.get("num_decoder_layers", layers), both_ways=False),
    )


def _side(settings: Settings, layers: int, *, both_ways: bool) -> TransformerConfig:
    buckets, farthest = settings.get(_BUCKETS, 32), settings.get(_FARTHEST, 128)
    return TransformerConfig(
        settings.need("vocab_size"),
        settings.need("d_model"),
        layers=layers,
        heads=settings.need("num_heads"),
        head_width=settings.need("d_kv"),
        feed_forward=settings.need("d_ff"),
        activation=settings.choose("feed_forward_proj", _ACTIVATIONS, "relu"),
        attention=_bias(buckets, farthest, both_ways),
        cross_attention="scaled_dot",
        norm_epsilon=settings.get("layer_norm_epsilon", 1e-6),
        dropout_rate=settings.get("dropout_rate", 0.1),
        # What transformers writes says that all are tied, and has the other table if not.
        tied=_HEAD not in settings.tensors,
        **_SHARED,
    )


def _bias(buckets: int, farthest: int, both_ways: bool) -> str:
    return f"t5_bias(buckets={buckets}, max_distance={farthest}, bidirectional={both_ways})"


def described(config: Seq2SeqConfig) -> Described:
    """The config.json of our configuration.

    Raises:
      ValueError: no T5 is so.
    """
    encoder, decoder = sides(config, "t5")
    found = _BIAS.fullmatch(variants.label(decoder.attention))
    buckets, farthest = found.groups()[:2] if found else (32, 128)
    for side in (encoder, decoder):
        refused(side, "t5", **_SHARED, kv_heads=None, qk_norm=False, value_width=None)
        refused(side, "t5", embedding_norm=False, recurrence=None, heads=decoder.heads)
        refused(side, "t5", norm_epsilon=decoder.norm_epsilon, head_width=decoder.head_width)
        refused(side, "t5", activation=decoder.activation, feed_forward=decoder.feed_forward)
        refused(side, "t5", attention=_bias(int(buckets), int(farthest), side is encoder))
    return {
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
        "is_encoder_decoder": True,
        "vocab_size": decoder.vocabulary_size,
        "d_model": decoder.width,
        "num_layers": encoder.layers,
        "num_decoder_layers": decoder.layers,
        "num_heads": decoder.heads,
        "d_kv": decoder.head_width or decoder.width // decoder.heads,
        "d_ff": decoder.feed_forward,
        "feed_forward_proj": word(_ACTIVATIONS, decoder.activation, "activation"),
        "layer_norm_epsilon": decoder.norm_epsilon,
        "dropout_rate": decoder.dropout_rate,
        "tie_word_embeddings": decoder.tied,
        "scale_decoder_outputs": decoder.tied,
        _BUCKETS: int(buckets),
        _FARTHEST: int(farthest),
    }


def rules(config: Seq2SeqConfig) -> list[Rule]:
    """The table of names as it is written: a tied table divides, in all readers of T5."""
    return _rules(config, divided=sides(config, "t5")[1].tied)


def read_rules(config: Seq2SeqConfig, settings: Settings) -> list[Rule]:
    """The table of names as files have it: T5's first models alone divide the output."""
    first = settings.get("model_type") == "t5" and settings.get("tie_word_embeddings", True)
    return _rules(config, divided=settings.get("scale_decoder_outputs", first))


def _rules(config: Seq2SeqConfig, *, divided: bool) -> list[Rule]:
    encoder, decoder = sides(config, "t5")
    last = scaled(decoder.width**-0.5) if divided else SAME
    found = [
        Rule("shared.weight", "embedding/table/embedding"),
        *norm("encoder.final_layer_norm", "encoder/norm", bias=False),
        *norm("decoder.final_layer_norm", "decoder_norm", bias=False, form=last),
    ]
    if not decoder.tied:
        found += [Rule(_HEAD, "output/kernel", TRANSPOSED)]
    for name, side, ours in (
        ("encoder", encoder, "encoder/layers/layers"),
        ("decoder", decoder, "decoder/layers"),
    ):
        found += [_table(name, ours, side)]
        for n in range(side.layers):
            theirs = f"{name}.block.{n}.layer"
            found += _layer(theirs, f"{ours}/{n}", side, crossing=name == "decoder")
    return found


def _layer(theirs: str, ours: str, side: TransformerConfig, *, crossing: bool) -> list[Rule]:
    found = _attention(f"{theirs}.0", ours, side, "SelfAttention", "attention")
    if crossing:
        found += _attention(f"{theirs}.1", ours, side, "EncDecAttention", "cross_attention")
    last, ff = f"{theirs}.{1 + crossing}", f"{ours}/feed_forward"
    maps = {"wo": "down", "wi_0": "gate", "wi_1": "up"}
    if side.activation not in _GATED:
        maps = {"wo": "down", "wi": "up"}
    for name, own in maps.items():
        found += linear(f"{last}.DenseReluDense.{name}", f"{ff}/{own}", bias=False)
    return found + norm(f"{last}.layer_norm", f"{ours}/around_feed_forward/norm", bias=False)


def _attention(
    theirs: str, ours: str, side: TransformerConfig, their_part: str, our_part: str
) -> list[Rule]:
    width = side.head_width or side.width // side.heads
    found = norm(f"{theirs}.layer_norm", f"{ours}/around_{our_part}/norm", bias=False)
    for name, own in _PARTS.items():
        form = then(TRANSPOSED, scaled(width**0.5)) if name == "q" else TRANSPOSED
        kernel = f"{ours}/{our_part}/{own}/kernel"
        found += [Rule(f"{theirs}.{their_part}.{name}.weight", kernel, form)]
    return found


def _table(name: str, ours: str, side: TransformerConfig) -> Rule:
    """The table of the first layer, for all layers."""
    layers = side.layers

    def write(ours: Tensor) -> Tensor:
        first, *others = np.split(ours, layers, axis=-1)
        if any(not np.array_equal(first, x) for x in others):
            raise ValueError(
                f"All layers of the {name} must have the same biases of distance to be written as "
                "t5; these differ, as they do after training. Write each layer the mean of all."
            )
        return first

    paths = tuple(f"{ours}/{n}/attention/learned/table" for n in range(layers))
    theirs = f"{name}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    return Rule(theirs, paths, Form(lambda x: np.tile(x, (1, layers)), write))


def special(settings: Settings) -> Special:
    """The special tokens; a decoder begins with padding."""
    padding = settings.get("pad_token_id", 0)
    begin = settings.get("decoder_start_token_id", padding)
    return Special(padding, begin, settings.get("eos_token_id", 1), settings.get("unk_token_id", 2))


FAMILY = Family(
    name="t5",
    model_types=("t5", "mt5"),
    config=config,
    build=lambda config, rngs: seq2seq.build(config, rngs=rngs),
    rules=rules,
    special=special,
    described=described,
    rows=("embedding/table/embedding", "output/kernel", "output_bias"),
    read_rules=read_rules,
    ignored=(
        r"(encoder|decoder)\.embed_tokens\.weight",
        r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
    ),
)
