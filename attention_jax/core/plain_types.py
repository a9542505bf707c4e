"""Checks of settings by their annotations: numbers, flags, texts and None.

`int` takes a whole number, `float` a finite number, `bool` and `str` their own, and a union what
one of its parts takes. Annotations of other types, such as arrays, are left to whoever uses them.
"""

import inspect
import math
import types
import typing

import numpy as np

from attention_jax.core import checks

_LITERALS = (bool, int, float, complex, str, bytes, tuple, list, dict, set, types.NoneType)
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text in quotes",
    tuple: "a tuple",
    types.NoneType: "None",
}


def plain(value: object) -> object:
    """A number of NumPy as Python's; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def fits(value: object, wanted: object) -> bool:
    """Tells whether a value is of an annotated type; NaN and infinity are no `float`."""
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is typing.Literal:
        return isinstance(value, _LITERALS) and value in parts
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    wanted = types.NoneType if wanted is None else wanted
    if wanted is int and isinstance(value, bool):
        return False
    if wanted is float and isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(wanted, type) or wanted not in _WORDS or isinstance(value, wanted)


def said(wanted: object) -> str:
    """An annotation in words."""
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is typing.Literal:
        return " or ".join(map(repr, parts))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(said, parts))
    return _WORDS.get(wanted, getattr(wanted, "__name__", str(wanted)))


def taken(
    name: str,
    value: object,
    wanted: object,
    *,
    of: str,
    default: object = inspect.Parameter.empty,
) -> object:
    """The value as its annotation has it: 1 is 1.0 where it asks for a float.

    Args:
      name: of the setting.
      of: whose setting it is, in errors.
      default: of the setting; left out of errors where there is none.

    Raises:
      ValueError: it is of another type, or not finite.
    """
    value = plain(value)
    if fits(value, wanted):
        return value
    if type(value) is int and abs(value) < 2**1000 and fits(float(value), wanted):
        return float(value)
    finite = "finite and " if isinstance(value, float) and not math.isfinite(value) else ""
    known = "" if default is inspect.Parameter.empty else f" Its default is {default!r}."
    raise ValueError(
        f"`{name}` must be {finite}{said(wanted)} for {of}; got {checks.said(value)}.{known}"
    )


def check_fields(config: tuple) -> None:
    """Raises unless each field of a NamedTuple is of its annotated type.

    Raises:
      ValueError: one is not; the line names it.
    """
    kind = type(config)
    for parameter in inspect.signature(kind).parameters.values():
        name, wanted, default = parameter.name, parameter.annotation, parameter.default
        taken(name, getattr(config, name), wanted, of=kind.__name__, default=default)
