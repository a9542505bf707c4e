"""Checks of settings by their annotations: numbers, flags, texts and None.

`int` takes a whole number, `float` a finite number, `bool`, `str` and a class of the library their
own, a sequence items of its kind, an array numbers of its kind and as many axes, and a union what
one of its parts takes. Annotations of other types are left to whoever uses them.
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
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

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
    bytes: "bytes",
    dict: "a dictionary",
    os.PathLike: "a path",
    Path: "a path",
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
    collections.abc.Collection: (_is_several, "a sequence"),
    collections.abc.Mapping: (
        lambda value: isinstance(value, collections.abc.Mapping),
        "a mapping",
    ),
    tuple: (lambda value: isinstance(value, tuple), "a tuple"),
    list: (lambda value: isinstance(value, list), "a list"),
}
_ITEMS = ((str, "texts"), (int, "whole numbers"), (float, "numbers"))
# The classes of these packages take their own instances alone.
_PACKAGES = ("attention_jax", "flax", "matplotlib")
# Kinds of numbers by the names of annotations of arrays; a whole number is a real one.
_NUMBERS = {
    "Float": "numbers",
    "Int": "whole numbers",
    "Bool": "True or False",
    "UInt8": "8-bit numbers (uint8)",
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
        return _KINDS[kind][0](value) and _items_fit(value, kind, parts)
    if hasattr(wanted, "dim_str"):
        return _is_array(value, wanted)
    if getattr(wanted, "_is_runtime_protocol", False):
        return not isinstance(value, _LITERALS) and isinstance(value, wanted)  # ty: ignore
    wanted = types.NoneType if wanted is None else kind
    if wanted is Path:
        return isinstance(value, (str, os.PathLike))
    if wanted is int and isinstance(value, bool):
        return False
    if wanted is float and isinstance(value, float):
        return math.isfinite(value)
    if not isinstance(wanted, type) or getattr(wanted, "_is_protocol", False):
        return True
    own = wanted in _WORDS or issubclass(wanted, tuple) or dataclasses.is_dataclass(wanted)
    own = own or wanted.__module__.partition(".")[0] in _PACKAGES
    return not own or isinstance(value, wanted)


def _items_fit(value: object, kind: object, parts: tuple[object, ...]) -> bool:
    """Tells whether the first item of a sequence is of its kind, as the others will be then."""
    if kind is collections.abc.Callable or not parts or not isinstance(value, (list, tuple)):
        return True
    if not value or (kind is tuple and parts[-1] is not Ellipsis):
        return True
    if (typing.get_origin(parts[0]) or parts[0]) in _KINDS:
        return True  # whoever reads them says which is wrong
    item = plain(value[0])
    number = isinstance(item, int) and not isinstance(item, bool)
    return hasattr(item, "dtype") or fits(item, parts[0]) or (number and parts[0] is float)


def _is_array(value: object, wanted: Any) -> bool:
    """Tells whether a value is an array of such axes and kind of numbers."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None:
        return False
    names = wanted.dim_str.split()
    several = any(name == "..." or name[0] == "*" for name in names)
    if len(shape) != len(names) and not (several and len(shape) >= len(names) - 1):
        return False
    kind, names = wanted.__name__.partition("[")[0], wanted.dtypes
    if kind == "Float":
        return jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)
    return not isinstance(names, tuple) or str(dtype) in names


def _array_in_words(wanted: Any) -> str:
    kind = wanted.__name__.partition("[")[0]
    return f"an array [{wanted.dim_str}] of {_NUMBERS.get(kind, 'numbers')}"


def said(wanted: object) -> str:
    """An annotation in words."""
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is typing.Literal:
        return " or ".join(map(repr, parts))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(said, parts)))
    kind = origin or wanted
    if kind in _KINDS:
        words = _KINDS[kind][1]
        items = [name for item, name in _ITEMS if parts and parts[0] is item]
        return f"{words} of {items[0]}" if items else words
    if hasattr(wanted, "dim_str"):
        return _array_in_words(wanted)
    return _WORDS.get(kind, getattr(kind, "__name__", str(wanted)))


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
