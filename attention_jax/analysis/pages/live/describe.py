"""Description of a model for the live page: layers, vocabulary, and weights in 16 bits.

    own = describe(model, tokenizer)
    own["shapes"], own["weights"]      # paths and shapes, and base64 of all numbers in that order

What the scripts beside this file cannot compute is named by `why_recorded`.
"""

import json
from collections.abc import Iterator
from typing import TypeAlias

from attention_jax import variants
from attention_jax.analysis.pages.live import forms, weights
from attention_jax.analysis.pages.live.forms import Json, Reason
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.models.seq2seq_rnn import Seq2SeqRNN
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn.encoders import RNNEncoder, TransformerEncoder
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import ONE_VECTOR, TransformerConfig

Translator: TypeAlias = Seq2SeqTransformer | Seq2SeqRNN


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
        "shapes": weights.shapes(model),
        "weights": weights.packed(model),
    }


def why_recorded(model: Translator, tokenizer: Tokenizer) -> tuple[Reason, ...]:
    """Reasons for which the page cannot compute with a model; none where it can."""
    found = list(dict.fromkeys(_reasons(model)))
    if tokenizer.is_given:
        found.append(("tokenizer", tokenizer.kind))
    if not found and not weights.fits(model):
        found.append(("range", ""))
    return tuple(found)


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


def _reasons(model: Translator) -> Iterator[Reason]:
    for config in _configs(model):
        if isinstance(config, TransformerConfig):
            yield from forms.reasons_of_layers(config)
            if config.positions == "rope" and config.first_rotary.axes == 2:
                yield "option", "rope_axes"
        elif config.dtype != "float32":
            yield "dtype", config.dtype
    encoder, decoder = _attentions(model)
    for text in (*encoder, *decoder):
        if not forms.is_live(text):
            yield "attention", text
    is_cell = isinstance(model, Seq2SeqRNN) and model.attentive and model.heads == 1
    if is_cell and decoder and forms.is_live(decoder[0]) and model.variant.score is None:
        yield "attention", decoder[0]


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
    encoder = [] if above is None else forms.texts(above, "bidirectional")
    if isinstance(model, Seq2SeqRNN):
        own = variants.label(model.config.attention)
        return encoder, [own] if model.attentive else []
    cross = forms.texts(model.config, "cross", always=True) if model.attentive else []
    return encoder, [*forms.texts(model.config, "causal"), *cross]


def _side(config: TransformerConfig, **paths: str | None) -> dict[str, Json]:
    """A side of layers: where its parameters are, and its positions."""
    if not config.embedding_norm:
        paths["embedding_norm"] = None
    if config.positions != "learned":
        paths["learned"] = None
    return {"kind": "transformer", "positions": forms.positions(config, config.width), **paths}


def _encoder(model: Translator) -> dict[str, Json]:
    config, at = _reader(model).config, "" if model.reads else "encoder/"
    if isinstance(config, RNNConfig):
        above = config.self_attention
        layers = "self_attention/layers/layers"
        own: dict[str, Json] | None = above and {
            "layers": at + layers,
            "norm": f"{at}self_attention/norm",
            "own": forms.layers(above, "bidirectional"),
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
        "own": forms.layers(config, "bidirectional"),
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
            "attention": forms.variant(variants.label(attention)) if attention else None,
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
        "own": forms.layers(config, "causal", cross=model.attentive),
    }


def _output(model: Translator) -> dict[str, Json]:
    cap = model.config.logit_cap if isinstance(model.config, TransformerConfig) else None
    return {"tied": model.config.tied, "cap": cap}
