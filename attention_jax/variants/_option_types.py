"""Checks of options: that a factory has them, and that literals are of the annotated types."""

import difflib
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

_LITERALS = (bool, int, float, complex, str, bytes, tuple, list, dict, set, types.NoneType)
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text in quotes",
    tuple: "a tuple",
    types.NoneType: "None",
}


def checked_options(
    name: str, factory: Callable[..., object], options: Mapping[str, object]
) -> dict[str, object]:
    """The options, where a factory takes them; 1 is 1.0 where it asks for a float.

    Args:
      name: of the variant, for errors.

    Raises:
      ValueError: an option that it does not have, one that is missing, or one of another type.
    """
    try:
        signature = inspect.signature(factory, eval_str=True)
    except NameError:  # an annotation that only type checkers know
        signature = inspect.signature(factory)
    try:
        bound = signature.bind(**options)
    except TypeError as error:
        known = tuple(signature.parameters)
        raise ValueError(
            f"The options of variant {name} are: {', '.join(known) or 'none'}; got "
            f"{', '.join(options) or 'none'} ({error}).{_guess(options, known)}"
        ) from None
    parameters = [signature.parameters[option] for option in bound.arguments]
    return dict(options) | {
        x.name: _converted(name, x, options[x.name]) for x in parameters if x.name in options
    }


def _guess(given: Mapping[str, Any], known: tuple[str, ...]) -> str:
    wrong = [option for option in given if option not in known]
    close = [name for option in wrong for name in difflib.get_close_matches(option, known, n=1)]
    return f" Did you mean {' and '.join(close)}?" if close else ""


def _converted(name: str, parameter: inspect.Parameter, value: Any) -> Any:
    wanted = parameter.annotation
    if _fits(value, wanted):
        return value
    if type(value) is int and _fits(float(value), wanted):
        return float(value)
    default = (
        "" if parameter.default is parameter.empty else f" Its default is {parameter.default!r}."
    )
    raise ValueError(
        f"`{parameter.name}` must be {_said(wanted)} for variant {name}; got {value!r}.{default}"
    )


def _fits(value: Any, wanted: Any) -> bool:
    """Tells whether a literal has a type; arrays and other values are left to the factory."""
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if not isinstance(value, _LITERALS):
        return True
    if origin is typing.Literal:
        return value in parts
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if wanted is int and isinstance(value, bool):
        return False
    wanted = types.NoneType if wanted is None else wanted
    return wanted not in _WORDS or isinstance(value, wanted)


def _said(wanted: Any) -> str:
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is typing.Literal:
        return " or ".join(map(repr, parts))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_said, parts))
    return _WORDS.get(wanted, getattr(wanted, "__name__", str(wanted)))
