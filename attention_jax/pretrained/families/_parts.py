"""Shared pieces of families' tables: maps, norms, activations, patterns of windows."""

import re
from collections.abc import Mapping
from typing import Any

from attention_jax import variants
from attention_jax.core import checks
from attention_jax.models.seq2seq import Seq2SeqConfig
from attention_jax.nn.transformer import TransformerConfig, in_turn
from attention_jax.pretrained.types import SAME, TRANSPOSED, Described, Form, Rule, Settings

# Activations by the names of `transformers`.
ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "swish",
    "swish": "swish",
}


WINDOW, WHOLE = "sliding_attention", "full_attention"
_WINDOW = re.compile(r"sliding_window\(size=(\d+)\)")


def linear(theirs: str, ours: str, *, bias: bool = True) -> list[Rule]:
    """A map that torch stores as [out in], and its bias."""
    found = [Rule(f"{theirs}.weight", f"{ours}/kernel", TRANSPOSED)]
    return [*found, Rule(f"{theirs}.bias", f"{ours}/bias")] if bias else found


def norm(theirs: str, ours: str, *, bias: bool = True, form: Form = SAME) -> list[Rule]:
    """The gain of a norm, and its bias."""
    found = [Rule(f"{theirs}.weight", f"{ours}/scale", form)]
    return [*found, Rule(f"{theirs}.bias", f"{ours}/bias")] if bias else found


def word(choices: Mapping[str, str], ours: str, name: str) -> str:
    """Their word for ours: the first that means it.

    Raises:
      ValueError: they have none.
    """
    for theirs, own in choices.items():
        if own == ours:
            return theirs
    listed = ", ".join(dict.fromkeys(choices.values()))
    raise ValueError(f"`{name}` must be one of {listed} to be written so; got {ours!r}.")


def refused(config: Any, family: str, **wanted: Any) -> None:
    """Raises ValueError where a field of a configuration is not what all of a family have."""
    for name, value in wanted.items():
        found = getattr(config, name)
        if found != value:
            raise ValueError(
                f"`{name}` of a model must be {checks.said(value)} to be written as {family}; got "
                f"{checks.said(found)}. Write it as another family, or train one that is so."
            )


def pattern(settings: Settings, *, default_window: bool) -> str:
    """The attention of layers that see a window or all: one variant, or a pattern of them.

    Args:
      default_window: whether a window holds for all layers where nothing says of which.
    """
    size = settings.get("sliding_window")
    count = settings.need("num_hidden_layers")
    kinds = settings.get("layer_types")
    if kinds is None:
        near = default_window or settings.get("use_sliding_window", False)
        first = settings.get("max_window_layers", 0) if not default_window else 0
        kinds = [WINDOW if near and n >= first else WHOLE for n in range(count)]
    if size is None or WINDOW not in kinds:
        return "scaled_dot"
    words = {WINDOW: f"sliding_window(size={size})", WHOLE: "scaled_dot"}
    said = {str(n): kind for n, kind in enumerate(kinds)}
    inner = Settings(said, f"`layer_types` of {settings.name}")
    return in_turn([inner.choose(str(n), words) for n in range(count)])


def windows_of(config: Any, kind: str) -> tuple[str, Described]:
    """A config.json's words for the windows of layers, and the kind of model that has them.

    Raises:
      ValueError: the layers have another attention, or windows of several sizes.
    """
    labels = [variants.label(config.at(n).attention) for n in range(config.layers)]
    found = [(x, _WINDOW.fullmatch(x)) for x in labels]
    sizes = {int(match[1]) for _, match in found if match}
    other = [x for x, match in found if not match and x != "scaled_dot"]
    if other or len(sizes) > 1:
        raise ValueError(
            "`attention` of a model must be scaled_dot, or sliding_window of one size in some "
            f"layers, to be written as {kind}; got {variants.label(config.attention)!r}. "
            "`experiments.export` can write programs of any."
        )
    if not sizes:
        return kind, {}
    kind = "mistral" if kind == "llama" else kind
    kinds = [WINDOW if match else WHOLE for _, match in found]
    size = sizes.pop()
    if kind != "mistral":
        return kind, {"sliding_window": size, "layer_types": kinds, "use_sliding_window": True}
    if WHOLE in kinds:
        raise ValueError(
            "`attention` of a model must be alike in all layers to be written as mistral; got "
            f"{variants.label(config.attention)!r}. With `qk_norm` it could be written as qwen3."
        )
    return kind, {"sliding_window": size}


def sides(config: Seq2SeqConfig, family: str) -> tuple[TransformerConfig, TransformerConfig]:
    """The encoder's and the decoder's configuration.

    Raises:
      ValueError: one of them is none of a Transformer.
    """
    encoder, decoder = config
    if not (isinstance(encoder, TransformerConfig) and isinstance(decoder, TransformerConfig)):
        raise ValueError(
            f"Both sides of a model must be Transformers to be written as {family}; got "
            f"{type(encoder).__name__} and {type(decoder).__name__}. Export a program of it."
        )
    return encoder, decoder
