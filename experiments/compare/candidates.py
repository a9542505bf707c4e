"""Candidates of a comparison: models with attentions, as flags name them."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from absl.flags import Error

from attention_jax import variants
from experiments.common import flags
from experiments.compare.config import OF_CANDIDATES, Comparison

_DEFAULTS = {"transformer": "scaled_dot", "rnn": "additive", "cnn": "none"}


class Candidate(NamedTuple):
    """A model with an attention, and its flags beside those that all share."""

    name: str
    flags: dict[str, Any]


class LeftOut(NamedTuple):
    """A model and an attention that do not go together."""

    name: str
    reason: str


def candidates(comparison: Comparison) -> tuple[list[Candidate], list[LeftOut]]:
    """Each model with each attention; one written model:attention stands as it is.

    Raises:
      ValueError: a name is unknown, there is nothing to compare, or a pair named as one does not
        go together.
    """
    found: dict[str, Candidate] = {}
    left: list[LeftOut] = []
    for item, model, attention in _pairs(comparison):
        name = f"{model}-{variants.slug(attention)}"
        reason = _why_not(comparison, model, attention)
        if reason and ":" in item:
            raise ValueError(f"`--models` must name what goes together; got {item}. {reason}")
        if reason:
            left.append(LeftOut(name, reason))
            continue
        own = Candidate(name, _flags(comparison, model, attention))
        for candidate in _varied(comparison, own):
            if found.setdefault(candidate.name, candidate) != candidate:
                raise ValueError(f"`--attentions` must differ in name; two of them are {name}.")
    if not found:
        because = f" {left[0].reason}" if left else ""
        raise ValueError(f"`--models` and `--attentions` leave nothing to compare.{because}")
    return list(found.values()), left


def _pairs(comparison: Comparison) -> Iterable[tuple[str, str, str]]:
    """The item of `--models`, its model, and each attention that it is to have."""
    known = comparison.experiment.models
    for item in comparison.models:
        model, colon, own = item.partition(":")
        if model not in known:
            raise ValueError(f"`--models` must be among {', '.join(known)}; got {model!r}.")
        default = _DEFAULTS[known[model]["model"]]
        for attention in [own] if colon else comparison.attentions or [default]:
            yield item, model, attention


def _why_not(comparison: Comparison, model: str, attention: str) -> str:
    """The reason why a model cannot have an attention; empty where it can."""
    kind = comparison.experiment.models[model]["model"]
    if attention == "none":
        return "A Transformer is its attention." if kind == "transformer" else ""
    variants.pattern(attention)  # which refuses what there is not, whatever the model
    if kind == "cnn":
        return "A CNN has no attention."
    return comparison.experiment.why_not(kind, attention)


def _flags(comparison: Comparison, model: str, attention: str) -> dict[str, Any]:
    """Flags of a candidate: those that its model stands for, its attention, and its options."""
    own: dict[str, Any] = {**comparison.experiment.models[model], "attention": attention}
    kind, known = own["model"], comparison.values
    for item in comparison.own.options[kind]:
        name, equals, text = item.partition("=")
        if not equals or name not in known or name in (*own, *OF_CANDIDATES, "seed"):
            raise ValueError(f"`--{kind}_option` must be flag=value, of a flag; got {item!r}.")
        own[name] = _value(comparison, name, text, asked=f"--{kind}_option={item}")
    return own


def _varied(comparison: Comparison, candidate: Candidate) -> Iterable[Candidate]:
    """The candidate with each value of `--vary`; itself where nothing is varied."""
    if comparison.varied is None:
        yield candidate
        return
    name, values = comparison.varied
    if name in candidate.flags:
        raise ValueError(
            f"`--vary={name}` is already --{name}={candidate.flags[name]} of {candidate.name}. "
            "Vary another flag, or leave the model or its option out."
        )
    for text in values:
        value = _value(comparison, name, text, asked=f"--vary={name}={text}")
        told = re.sub(r"[^\w.+-]+", "_", text).strip("_")
        yield Candidate(f"{candidate.name}-{name}_{told}", candidate.flags | {name: value})


def _value(comparison: Comparison, name: str, text: str, *, asked: str) -> Any:
    """The value of a flag that a text says."""
    try:
        changed, _ = flags.parse(comparison.shared, [f"--{name}={text}"])
    except Error as error:
        raise ValueError(f"`{asked}` is no value of its flag: {error}.") from None
    return flags.values(changed)[name]
