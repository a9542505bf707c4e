"""Checks of settings by their annotations: numbers, flags, texts and None.

`int` takes a whole number, `float` a finite number, `bool`, `str` and a NamedTuple their own, and a
union what one of its parts takes. Annotations of other types, such as arrays, are left to whoever
uses them.
"""

import collections.abc
import dataclasses
import functools
import inspect
import math
import os
import types
import typing
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from attention_jax.core import calls, checks
from attention_jax.core.types import Length

P = ParamSpec("P")
R = TypeVar("R")

_LITERALS = (bool, int, float, complex, str, bytes, tuple, list, dict, set, types.NoneType)
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text in quotes",
    tuple: "a tuple",
    types.NoneType: "None",
    os.PathLike: "a path",
    np.random.Generator: "a `numpy.random.Generator`",
}


def _is_several(value: object) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes))


def _is_iterable(value: object) -> bool:
    return hasattr(value, "__iter__") and not isinstance(value, str)


# What has one of these types, and the type in words.
_KINDS: dict[object, tuple[Callable[[object], bool], str]] = {
    collections.abc.Callable: (callable, "a function"),
    collections.abc.Sequence: (_is_several, "a sequence"),
    collections.abc.Iterable: (_is_iterable, "a sequence"),
    tuple: (lambda value: isinstance(value, tuple), "a tuple"),
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
    kind = origin or wanted
    if kind in _KINDS:
        return _KINDS[kind][0](value)
    if getattr(wanted, "_is_runtime_protocol", False):
        return not isinstance(value, _LITERALS) and isinstance(value, wanted)  # ty: ignore
    wanted = types.NoneType if wanted is None else wanted
    if wanted is int and isinstance(value, bool):
        return False
    if wanted is float and isinstance(value, float):
        return math.isfinite(value)
    if not isinstance(wanted, type):
        return True
    own = wanted in _WORDS or issubclass(wanted, tuple) or dataclasses.is_dataclass(wanted)
    return not own or isinstance(value, wanted)


def said(wanted: object) -> str:
    """An annotation in words."""
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is typing.Literal:
        return " or ".join(map(repr, parts))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(said, parts))
    kind = origin or wanted
    if kind in _KINDS:
        return _KINDS[kind][1]
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


def check_fields(config: object) -> None:
    """Raises unless each field of a NamedTuple or dataclass is of its annotated type.

    Raises:
      ValueError: one is not; the line names it.
    """
    kind = type(config)
    for parameter in inspect.signature(kind).parameters.values():
        name, wanted, default = parameter.name, parameter.annotation, parameter.default
        taken(name, getattr(config, name), wanted, of=kind.__name__, default=default)


def typed_calls(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose wrong calls raise one line: of arguments that do not fit, or their types.

    A call costs some microseconds more, so it is for what is called seldom.

    Raises:
      TypeError: an argument is missing or unknown.
      ValueError: one is not of its annotated type.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        line = calls.misfit(function, args, kwargs)
        if line is not None:
            raise TypeError(line)
        signature = _signature(function)
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            own = signature.parameters[name]
            if own.kind not in (own.VAR_POSITIONAL, own.VAR_KEYWORD):
                taken(name, value, own.annotation, of=calls.name_of(function), default=own.default)
        return function(*args, **kwargs)

    return call


@functools.cache
def _signature(function: Callable[..., object]) -> inspect.Signature:
    # Not as the function is made: its annotations may name what comes after it.
    return inspect.signature(function, eval_str=True)


def sizes(**named: object) -> None:
    """Raises unless each is a whole number of at least 1."""
    for name, value in named.items():
        checks.positive(name, value)


def rates(**named: object) -> None:
    """Raises unless each is a number in [0, 1)."""
    for name, value in named.items():
        checks.fraction(name, value)


def flags(**named: object) -> None:
    """Raises unless each is True or False."""
    for name, value in named.items():
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(
                f"`{name}` must be True or False; got {checks.said(value)}. Give one of them."
            )


def room(**named: Length) -> None:
    """Raises unless each is a length of at least 0, symbolic where a program is exported."""
    for name, value in named.items():
        if not jax.export.is_symbolic_dim(value):
            checks.natural(name, value)


def of_kind(name: str, value: object, *kinds: type) -> None:
    """Raises unless a value is an instance of one of these classes."""
    if not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(
            f"`{name}` must be of the class {names}; got {checks.said(value)}. Make one: "
            f"`{kinds[0].__name__}(...)`."
        )


def float_dtype(dtype: DTypeLike) -> jnp.dtype:
    """The type of a computation.

    Raises:
      ValueError: it is none of floating-point numbers.
    """
    try:
        kind = None if dtype is None else jnp.dtype(dtype)
    except TypeError:
        kind = None
    if kind is None or not jnp.issubdtype(kind, jnp.floating):
        raise ValueError(
            f"`dtype` must be a type of floating-point numbers; got {checks.said(dtype)}. Use "
            "jnp.float32 or jnp.bfloat16."
        )
    return kind
