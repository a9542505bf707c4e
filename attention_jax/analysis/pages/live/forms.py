"""Description of attention and of layers for the live page, as its scripts read them."""

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import TypeAlias

import numpy as np

from attention_jax import variants
from attention_jax.core import rotary
from attention_jax.nn import transformer
from attention_jax.nn.transformer import TransformerConfig

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
_NAMELESS = variants.label(variants.get("dot"))  # of a Variant that is given as a value


def reasons_of_layers(config: TransformerConfig) -> Iterator[Reason]:
    """Reasons in layers, beside their attention, for which the page cannot compute them."""
    if config.recurrence is not None and config.recurrence.cell != "ssru":
        yield "recurrence", config.recurrence.cell
    for name in ("value_residual", "kv_sharing"):
        if getattr(config, name) != TransformerConfig._field_defaults[name]:
            yield "option", name
    if config.dtype != "float32":
        yield "dtype", config.dtype


def is_live(text: str) -> bool:
    """True of the text of an attention that scores.js computes."""
    if text == _NAMELESS:
        return False
    spec = variants.parse(text)
    return not spec.is_file and variants.canonical_name(spec.source) in LIVE


def texts(config: TransformerConfig, role: str, *, always: bool = False) -> list[str]:
    """The attention of each layer in a role; none where a recurrence stands in its place."""
    if config.recurrence is not None and not always:
        return []
    return [transformer.name_at(config.at(n), role) for n in range(config.layers)]


def variant(text: str) -> dict[str, Json]:
    """A variant by its name, with all of its options."""
    spec = variants.parse(text)
    name = variants.canonical_name(spec.source)
    make = getattr(import_module(f"attention_jax.variants.{name}"), name)
    defaults = {key: x.default for key, x in inspect.signature(make).parameters.items()}
    return {"name": name, "options": {**defaults, **spec.options}}


def layers(config: TransformerConfig, role: str, *, cross: bool = False) -> dict[str, Json]:
    """Layers as transformer.js reads them."""
    heads = transformer.heads_of(config)
    recurs = config.recurrence is not None
    plain = ["scaled_dot"] * config.layers  # of layers that have none
    own = plain if recurs else texts(config, role)
    turns = [config.at(n).first_rotary for n in range(config.layers)]
    between = texts(config, "cross", always=True) if cross else []
    return {
        "heads": config.heads,
        "kv_heads": heads.kv_heads or config.heads,
        "norm": config.norm,
        "norm_kind": config.norm_kind,
        "norm_epsilon": config.norm_epsilon,
        "activation": config.activation,
        "recurrence": recurs,
        "attention": [variant(text) for text in own],
        "cross": [variant(text) for text in between] if cross else None,
        "rotary": [_turn(x, heads.widths(config.width)[0]) for x in turns]
        if config.positions == "rope"
        else None,
    }


def _turn(own: rotary.Rotary, width: int) -> dict[str, Json]:
    return {
        "rates": np.asarray(rotary.rates_of(own, width // own.axes), np.float64).tolist(),
        "layout": own.layout,
        "size": 1.0 if own.scaling is None else own.scaling.size,
        "grid": None if own.grid is None else own.grid._asdict(),
    }


def positions(config: TransformerConfig, width: int) -> dict[str, Json] | None:
    """Rates of the sinusoids that are added to so many channels, where there are any."""
    if config.positions != "sinusoidal":
        return None
    pairs, own = width // 2, config.sinusoids
    rate = np.arange(pairs) / (width / 2 if own.rates == "vaswani" else pairs - 1)
    rates = (10_000.0**-rate).tolist()
    return {"rates": rates, "layout": own.layout, "offset": own.offset}
