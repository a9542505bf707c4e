"""Candidates of a comparison: models with attentions, as flags name them."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from absl.flags import Error

from attention_jax import variants
from experiments.common import flags
from experiments.compare import contenders
from experiments.compare.config import OF_CANDIDATES, TRAINED, Comparison, is_contender

_DEFAULTS = {"transformer": "scaled_dot", "rnn": "additive", "cnn": "none"}


class Candidate(NamedTuple):
    """A model with an attention, and its flags beside those that all share.

    One that has `init_from` among them has the model and the tokens of that place.
    """

    name: str
    flags: dict[str, Any]

    @property
    def place(self) -> str | None:
        """Where its weights are; None of one that begins with random ones."""
        return self.flags.get("init_from")

    @property
    def is_trained(self) -> bool:
        """False for a model that is scored as it is."""
        return self.flags.get("steps") != 0


class LeftOut(NamedTuple):
    """A model and an attention that do not go together."""

    name: str
    reason: str


def candidates(comparison: Comparison) -> tuple[list[Candidate], list[LeftOut]]:
    """Each model with each attention; one written model:attention, or with weights, stands alone.

    Raises:
      ValueError: a name is unknown, there is nothing to compare, or a pair named as one does not
        go together.
    """
    found: dict[str, Candidate] = {}
    left: list[LeftOut] = []
    for item, model, attention in _pairs(comparison):
        if model is None:
            _add(comparison, _contender(comparison, item), found, flag="models")
            continue
        name = f"{model}-{variants.slug(attention)}"
        reason = _why_not(comparison, model, attention)
        if reason and ":" in item:
            raise ValueError(f"`--models` must name what goes together; got {item}. {reason}")
        if reason:
            left.append(LeftOut(name, reason))
            continue
        own = Candidate(name, _flags(comparison, model, attention))
        _add(comparison, own, found, flag="attentions")
    if not found:
        because = f" {left[0].reason}" if left else ""
        raise ValueError(f"`--models` and `--attentions` leave nothing to compare.{because}")
    contenders.check_first(comparison, next(iter(found.values())).flags)
    return list(found.values()), left


def _add(comparison: Comparison, own: Candidate, found: dict[str, Candidate], *, flag: str) -> None:
    """Adds a candidate, or those that vary it."""
    for candidate in _varied(comparison, own):
        if found.setdefault(candidate.name, candidate) != candidate:
            raise ValueError(f"`--{flag}` must differ in name; two of them are {own.name}.")


def _contender(comparison: Comparison, item: str) -> Candidate:
    """A model with weights that are there, whose place is known to hold one."""
    own = contenders.flags_of(comparison, item)
    if contenders.is_trained(item):
        own = _with_options(comparison, TRAINED, own)
    contenders.check(comparison, item, own)
    return Candidate(contenders.name(item), own)


def _pairs(comparison: Comparison) -> Iterable[tuple[str, str | None, str]]:
    """The item of `--models`, its model, and each attention that it is to have.

    One with weights has no model of those that are known, and no attention but its own.
    """
    known = comparison.experiment.models
    for item in comparison.models:
        if is_contender(item):
            yield item, None, ""
            continue
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
    return _with_options(comparison, own["model"], own)


def _with_options(comparison: Comparison, kind: str, own: dict[str, Any]) -> dict[str, Any]:
    """Flags with the options of their kind of model, which may not say the same again."""
    own, known = dict(own), comparison.values
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
