"""Shared pieces of families' tables: maps, norms, activations, and what a config.json cannot say."""

from collections.abc import Mapping
from typing import Any

from attention_jax import variants
from attention_jax.core import checks
from attention_jax.pretrained.types import SAME, TRANSPOSED, Form, Rule

# Activations by the names of `transformers`.
ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "swish",
    "swish": "swish",
}


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


def refused_attention(config: Any, family: str, *allowed: str) -> None:
    """Raises ValueError where the attention of a configuration is none that a family knows."""
    found = variants.label(config.attention)
    if found not in allowed:
        raise ValueError(
            f"`attention` of a model must be one of {', '.join(allowed)} to be written as "
            f"{family}; got {found!r}, which it does not know. `experiments.export` can write "
            "programs of any."
        )
