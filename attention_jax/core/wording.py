"""Values and functions of a user's as errors show them, in few words."""

import inspect
import linecache
from collections.abc import Callable

import jax
import numpy as np


def one_line(text: object) -> str:
    """A text, or the message of an error, whatever lines and spaces it has."""
    return " ".join(str(text).split())


def shown(function: Callable[..., object]) -> str:
    """A user's function as errors show it: its name, place and first line."""
    inner = getattr(function, "function", function)  # of a mask
    name = getattr(inner, "__qualname__", type(inner).__name__)
    code = getattr(inspect.unwrap(inner) if callable(inner) else inner, "__code__", None)
    if code is None:
        return name
    line = linecache.getline(code.co_filename, code.co_firstlineno).strip()
    return f"{name} ({code.co_filename}:{code.co_firstlineno}{': ' + line if line else ''})"


def said(value: object) -> str:
    """A value as errors show it, in few words."""
    if isinstance(value, (jax.Array, np.ndarray, jax.ShapeDtypeStruct)):
        return f"an array {value.dtype}{list(value.shape)}"
    text = repr(value)
    if isinstance(value, (bool, int, float, str, type(None))) and len(text) < 60:
        return text
    if callable(value) and hasattr(value, "__name__"):
        return f"the function {value.__name__}"
    kind = type(value).__name__
    return f"{text} ({kind})" if len(text) < 40 else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
