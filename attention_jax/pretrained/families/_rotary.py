"""Rotary positions as a config.json says them, both ways.

Older files say `rope_theta` and `rope_scaling`, newer ones both in `rope_parameters`.
"""

from typing import Any

from attention_jax.core.rotary import Rotary, Scaling
from attention_jax.pretrained.types import Described, Settings

BASE = 10_000.0


def rotary(settings: Settings, *, default_base: float = BASE, kind: str | None = None) -> Rotary:
    """How heads turn.

    Args:
      default_base: where none is said.
      kind: of layers, where each kind has parameters of its own.

    Raises:
      ValueError: the scaling is none of those that are known.
    """
    said = dict(settings.get("rope_parameters", {}))
    said = dict(said.get(kind) or {}) if kind is not None and kind in said else said
    said = {**(settings.get("rope_scaling") or {}), **said}
    base = said.get("rope_theta") or settings.get("rope_theta", default_base)
    inner = Settings(said, f"`rope_parameters` of {settings.name}")
    return Rotary(
        base=float(base),
        layout="halves",
        share=float(said.get("partial_rotary_factor", 1.0)),
        rates="share",
        scaling=_scaling(inner, settings),
    )


def _scaling(said: Settings, settings: Settings) -> Scaling | None:
    name = "type" if "rope_type" not in said.values and "type" in said.values else "rope_type"
    kinds = {"default": None, "linear": "linear", "llama3": "llama3", "yarn": "yarn"}
    kind = said.choose(name, kinds, "default")
    if kind is None:
        return None
    if kind == "linear":
        return Scaling("linear", float(said.need("factor")))
    length = said.get("original_max_position_embeddings")
    length = settings.need("max_position_embeddings") if length is None else length
    if kind == "llama3":
        fast, slow = float(said.need("high_freq_factor")), float(said.need("low_freq_factor"))
        return Scaling("llama3", float(said.need("factor")), length, fast, slow)
    for key in ("mscale", "mscale_all_dim"):
        said.refuse(key, ())
    said.refuse("truncate", (True,))
    fast, slow = float(said.get("beta_fast", 32.0)), float(said.get("beta_slow", 1.0))
    magnitude = said.get("attention_factor")
    return Scaling("yarn", float(said.need("factor")), length, fast, slow, magnitude)


def described(rotary: Rotary) -> Described:
    """The `rope_parameters` of our rotary positions.

    Raises:
      ValueError: there is no word for them.
    """
    if rotary.layout != "halves" or rotary.axes != 1:
        raise ValueError(
            '`rotary` of a model must have the layout "halves" and one axis to be written so; got '
            f"{rotary.layout!r} and {rotary.axes}. Train one that is so."
        )
    found: dict[str, Any] = {"rope_theta": rotary.base, "rope_type": "default"}
    if rotary.share != 1:
        found["partial_rotary_factor"] = rotary.share
    return found if rotary.scaling is None else found | _said(rotary.scaling)


def _said(scaling: Scaling) -> Described:
    found: Described = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "linear":
        return found
    if scaling.kind == "ntk":
        raise ValueError(
            '`scaling` must be linear, llama3 or yarn to be written so; got "ntk". Raise `base` '
            "instead, to base factor^(d / (d - 2))."
        )
    fast, slow = scaling.turns
    found["original_max_position_embeddings"] = scaling.trained_length
    if scaling.kind == "llama3":
        return found | {"high_freq_factor": fast, "low_freq_factor": slow}
    factor = {"attention_factor": scaling.size}
    return found | {"beta_fast": fast, "beta_slow": slow} | factor
