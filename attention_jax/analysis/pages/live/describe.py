"""Description of a model for the live page: layers, vocabulary, and weights in 16 bits.

    own = describe(model, tokenizer)
    own["shapes"], own["weights"]      # paths and shapes, and base64 of all numbers in that order

What the scripts beside this file cannot compute is named by `why_recorded`.
"""

import base64
import inspect
import json
from collections.abc import Iterator
from importlib import import_module
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attention_jax import variants
from attention_jax.core import rotary
from attention_jax.core.types import Params
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.models.seq2seq_rnn import Seq2SeqRNN
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn import transformer
from attention_jax.nn.encoders import RNNEncoder, TransformerEncoder
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import ONE_VECTOR, TransformerConfig

Translator: TypeAlias = Seq2SeqTransformer | Seq2SeqRNN
Json: TypeAlias = object
Reason: TypeAlias = tuple[str, str]  # a key of words.js, and the name that goes in it

# The variants of scores.js.
LIVE = (
    "scaled_dot",
    "dot",
    "additive",
    "general",
    "concat",
    "cosine",
    "query_key_norm",
    "distance",
    "soft_cap",
    "alibi",
    "temperature",
    "rope",
    "sliding_window",
    "softmax_with_sink",
    "softmax_off_by_one",
    "top_k",
    "sparsemax",
    "entmax15",
    "relu",
    "sigmoid",
)
_LARGEST = 65504.0  # of float16
_NAMELESS = variants.label(variants.get("dot"))  # of a Variant that is given as a value


def describe(model: Translator, tokenizer: Tokenizer) -> dict[str, Json]:
    """All that the page needs to compute with a model.

    Raises:
      ValueError: it is a model that the page cannot compute: see `why_recorded`.
    """
    if reasons := why_recorded(model, tokenizer):
        raise ValueError(
            f"`model` must be one that the page can compute; got {dict(reasons)}. Show its "
            "recorded maps."
        )
    arrays = parameters(model)
    return {
        "embedding": {
            "table": "embedding/table/embedding",
            "width": model.embedding.width,
            "scale": float(model.embedding.scale),
        },
        "encoder": _encoder(model),
        "decoder": _decoder(model),
        "output": _output(model),
        "tokenizer": vocabulary(tokenizer),
        "shapes": [[path, list(array.shape)] for path, array in arrays.items()],
        "weights": packed(model),
    }


def why_recorded(model: Translator, tokenizer: Tokenizer) -> tuple[Reason, ...]:
    """Reasons for which the page cannot compute with a model; none where it can."""
    found = list(dict.fromkeys(_reasons(model)))
    if tokenizer.is_given:
        found.append(("tokenizer", tokenizer.kind))
    if not found and any(np.abs(x).max(initial=0) > _LARGEST for x in _flat(model).values()):
        found.append(("range", ""))
    return tuple(found)


def parameters(model: Translator) -> dict[str, np.ndarray]:
    """The parameters by their paths, in float16; layers of a loop one by one."""
    return {path: x.astype(np.float16) for path, x in _flat(model).items()}


def rounded(params: Params) -> Params:
    """Parameters as the page has them: rounded to float16, in float32."""
    return jax.tree.map(lambda x: x.astype(jnp.float16).astype(jnp.float32), params)


def packed(model: Translator) -> str:
    """The parameters of a model as the page reads them: one after another, as base64."""
    arrays = parameters(model)
    return base64.b64encode(b"".join(x.astype("<f2").tobytes() for x in arrays.values())).decode()


def vocabulary(tokenizer: Tokenizer) -> dict[str, Json]:
    """A learned tokenizer as the page's own has it: tokens by id, merges by rank."""
    kept = json.loads(tokenizer.to_text())
    normalizer = kept["normalizer"] or {"normalizers": []}
    steps = [step["type"] for step in normalizer["normalizers"]]
    merges = [x.split(" ") if isinstance(x, str) else x for x in kept["model"].get("merges", [])]
    ids: dict[str, int] = kept["model"]["vocab"]
    return {
        "kind": tokenizer.kind,
        "vocabulary": sorted(ids, key=ids.__getitem__),
        "merges": merges,
        "unicode": next((x.lower() for x in steps if x in ("NFC", "NFKC")), "none"),
        "lowercase": "Lowercase" in steps,
    }


def _flat(model: Translator) -> dict[str, np.ndarray]:
    state = nnx.as_pure(nnx.split(model, nnx.Param, ...)[1])
    found: dict[str, np.ndarray] = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(state):
        names = [str(getattr(key, "key", getattr(key, "idx", key))) for key in keys]
        array = np.asarray(leaf, np.float32)
        stack = _stack_of(model, names)
        if stack is None:
            found["/".join(names)] = array
            continue
        for n, own in enumerate(array):
            found["/".join([*names[:stack], str(n), *names[stack:]])] = own
    return found


def _stack_of(model: Translator, names: list[str]) -> int | None:
    """Where the layer's number goes in the path of a parameter that a loop has for all layers."""
    node: object = model
    for at, name in enumerate(names):
        if getattr(node, "scan", False) and name == "layers":
            return at + 1
        node = node[int(name)] if name.isdigit() else getattr(node, name, None)  # ty: ignore
    return None


def _reasons(model: Translator) -> Iterator[Reason]:
    for config in _configs(model):
        if isinstance(config, TransformerConfig):
            yield from _reasons_of_layers(config)
        if config.dtype != "float32":
            yield "dtype", config.dtype
    encoder, decoder = _attentions(model)
    for text in (*encoder, *decoder):
        if not _is_live(text):
            yield "attention", text
    is_cell = isinstance(model, Seq2SeqRNN) and model.attentive and model.heads == 1
    if is_cell and decoder and _is_live(decoder[0]) and model.variant.score is None:
        yield "attention", decoder[0]


def _reasons_of_layers(config: TransformerConfig) -> Iterator[Reason]:
    if config.recurrence is not None and config.recurrence.cell != "ssru":
        yield "recurrence", config.recurrence.cell
    for name in ("value_residual", "kv_sharing"):
        if getattr(config, name) != TransformerConfig._field_defaults[name]:
            yield "option", name
    if config.positions == "rope" and config.first_rotary.axes == 2:
        yield "option", "rope_axes"


def _is_live(text: str) -> bool:
    if text == _NAMELESS:
        return False
    spec = variants.parse(text)
    return not spec.is_file and variants.canonical_name(spec.source) in LIVE


def _reader(model: Translator) -> Translator | TransformerEncoder | RNNEncoder:
    """The model itself, or the encoder of another kind that reads for it."""
    if model.reads:
        return model
    encoder = model.encoder
    assert isinstance(encoder, (TransformerEncoder, RNNEncoder))  # of `seq2seq.build`
    return encoder


def _configs(model: Translator) -> list[TransformerConfig | RNNConfig]:
    found: list[TransformerConfig | RNNConfig] = [model.config]
    if not model.reads:
        found.append(_reader(model).config)
    above = [x.self_attention for x in found if isinstance(x, RNNConfig)]
    return [*found, *(x for x in above if x is not None)]


def _attentions(model: Translator) -> tuple[list[str], list[str]]:
    """Texts of the attentions of encoder and decoder, those that there are."""
    reads = _reader(model).config
    above = reads.self_attention if isinstance(reads, RNNConfig) else reads
    encoder = [] if above is None else _texts(above, "bidirectional")
    if isinstance(model, Seq2SeqRNN):
        own = variants.label(model.config.attention)
        return encoder, [own] if model.attentive else []
    cross = _texts(model.config, "cross", always=True) if model.attentive else []
    return encoder, [*_texts(model.config, "causal"), *cross]


def _texts(config: TransformerConfig, role: str, *, always: bool = False) -> list[str]:
    """The attention of each layer in a role; none where a recurrence stands in its place."""
    if config.recurrence is not None and not always:
        return []
    return [transformer.name_at(config.at(n), role) for n in range(config.layers)]


def _variant(text: str) -> dict[str, Json]:
    """A variant by its name, with all of its options."""
    spec = variants.parse(text)
    name = variants.canonical_name(spec.source)
    make = getattr(import_module(f"attention_jax.variants.{name}"), name)
    defaults = {key: x.default for key, x in inspect.signature(make).parameters.items()}
    return {"name": name, "options": {**defaults, **spec.options}}


def _layers(config: TransformerConfig, role: str, *, cross: bool = False) -> dict[str, Json]:
    """Layers as transformer.js reads them."""
    heads = transformer.heads_of(config)
    recurs = config.recurrence is not None
    plain = ["scaled_dot"] * config.layers  # of layers that have none
    own = plain if recurs else _texts(config, role)
    turns = [config.at(n).first_rotary for n in range(config.layers)]
    between = _texts(config, "cross", always=True) if cross else []
    return {
        "heads": config.heads,
        "kv_heads": heads.kv_heads or config.heads,
        "norm": config.norm,
        "norm_kind": config.norm_kind,
        "norm_epsilon": config.norm_epsilon,
        "activation": config.activation,
        "recurrence": recurs,
        "attention": [_variant(text) for text in own],
        "cross": [_variant(text) for text in between] if cross else None,
        "rotary": [_turn(x, heads.widths(config.width)[0]) for x in turns]
        if config.positions == "rope"
        else None,
    }


def _turn(own: rotary.Rotary, width: int) -> dict[str, Json]:
    return {
        "rates": np.asarray(rotary.rates_of(own, width), np.float64).tolist(),
        "layout": own.layout,
        "size": 1.0 if own.scaling is None else own.scaling.size,
    }


def _positions(config: TransformerConfig) -> dict[str, Json] | None:
    """Rates of the sinusoids that are added, where there are any."""
    if config.positions != "sinusoidal":
        return None
    pairs, own = config.width // 2, config.sinusoids
    rate = np.arange(pairs) / (config.width / 2 if own.rates == "vaswani" else pairs - 1)
    rates = (10_000.0**-rate).tolist()
    return {"rates": rates, "layout": own.layout, "offset": own.offset}


def _side(config: TransformerConfig, **paths: str | None) -> dict[str, Json]:
    """A side of layers: where its parameters are, and its positions."""
    if not config.embedding_norm:
        paths["embedding_norm"] = None
    if config.positions != "learned":
        paths["learned"] = None
    return {"kind": "transformer", "positions": _positions(config), **paths}


def _encoder(model: Translator) -> dict[str, Json]:
    config, at = _reader(model).config, "" if model.reads else "encoder/"
    if isinstance(config, RNNConfig):
        above = config.self_attention
        layers = "self_attention/layers/layers"
        own: dict[str, Json] | None = above and {
            "layers": at + layers,
            "norm": f"{at}self_attention/norm",
            "own": _layers(above, "bidirectional"),
        }
        return {"kind": "rnn", "cell": config.cell, "cells": f"{at}encoders", "above": own}
    paths: dict[str, str | None] = {
        "layers": "encoder/layers" if model.reads else "encoder/layers/layers",
        "norm": "encoder_norm" if model.reads else "encoder/norm",
        "embedding_norm": "embedding_norm" if model.reads else "encoder/embedding_norm",
        "learned": "embedding/learned/embedding" if model.reads else "encoder/learned/embedding",
    }
    scale = float(model.embedding.scale) if model.reads else 1.0
    return {
        **_side(config, **paths),
        "learned_scale": scale,
        "own": _layers(config, "bidirectional"),
    }


def _decoder(model: Translator) -> dict[str, Json]:
    config = model.config
    if isinstance(config, RNNConfig):
        attention = config.attention if config.attention != ONE_VECTOR else None
        heads = config.decoder_heads if attention else 1
        return {
            "kind": "rnn",
            "cell": config.cell,
            "layers": config.layers,
            "feeds": bool(attention) and config.input_feeding,
            "heads": heads,
            "kv_heads": heads,
            "attention": _variant(variants.label(attention)) if attention else None,
        }
    paths: dict[str, str | None] = {
        "layers": "decoder/layers",
        "norm": "decoder_norm",
        "embedding_norm": "embedding_norm",
        "learned": "embedding/learned/embedding",
    }
    return {
        **_side(config, **paths),
        "learned_scale": float(model.embedding.scale),
        "bridge": not model.attentive,
        "own": _layers(config, "causal", cross=model.attentive),
    }


def _output(model: Translator) -> dict[str, Json]:
    cap = model.config.logit_cap if isinstance(model.config, TransformerConfig) else None
    return {"tied": model.config.tied, "cap": cap}
