"""Keys of programs: equal for two traces of functions that compute the same.

A function of a user's own is new at every call, and so is its trace. What is compiled for one may
serve the next where their keys are equal, with the captured arrays as arguments.
"""

from collections.abc import Hashable
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from attention_jax.core import values


def structure(program: ClosedJaxpr) -> Hashable:
    """The key of a program without the numbers that it captured, of which only types count."""
    return _jaxpr(program.jaxpr)


def whole(program: ClosedJaxpr) -> Hashable:
    """The key of a program with the numbers that it captured, none of which may be traced."""
    held = tuple(values.Held(x) if hasattr(x, "dtype") else x for x in program.consts)
    return structure(program), held


class Unkeyed(ValueError):
    """A program that must not outlive the trace in which it was made."""


class _Itself:
    """An object that equals no other."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any):
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


def _jaxpr(jaxpr: Jaxpr) -> Hashable:
    numbers: dict[Any, int] = {}

    def made(variables: Any) -> Hashable:
        return tuple((numbers.setdefault(x, len(numbers)), _type(x)) for x in variables)

    def read(atom: Any) -> Hashable:
        return _literal(atom) if isinstance(atom, Literal) else numbers[atom]

    head = made(jaxpr.constvars), made(jaxpr.invars)
    steps = []
    for equation in jaxpr.eqns:
        inputs = tuple(map(read, equation.invars))
        params = tuple((name, _param(x)) for name, x in sorted(equation.params.items()))
        steps.append((equation.primitive, inputs, params, made(equation.outvars)))
    return head, tuple(steps), tuple(map(read, jaxpr.outvars))


def _type(variable: Any) -> Hashable:
    aval = variable.aval
    return getattr(aval, "shape", None), str(getattr(aval, "dtype", aval)), _weak(aval)


def _weak(x: Any) -> bool:
    return bool(getattr(x, "weak_type", False))


def _literal(literal: Any) -> Hashable:
    value = literal.val
    if isinstance(value, (jax.Array, np.ndarray, np.generic)) and not isinstance(
        value, jax.core.Tracer
    ):
        number = np.asarray(value)
        return number.dtype.str, number.shape, number.tobytes(), _weak(literal.aval)
    return type(value), _param(value), repr(value), _weak(literal.aval)


def _param(x: Any) -> Hashable:
    if isinstance(x, ClosedJaxpr):
        return _jaxpr(x.jaxpr), tuple(map(_constant, x.consts))
    if isinstance(x, Jaxpr):
        return _jaxpr(x)
    if isinstance(x, (tuple, list)):
        return type(x), tuple(map(_param, x))
    if isinstance(x, dict):
        return tuple((name, _param(value)) for name, value in sorted(x.items(), key=repr))
    if isinstance(x, (np.ndarray, jax.Array)):
        return _constant(x)
    try:
        hash(x)
    except TypeError:
        return _Itself(x)
    return type(x), x


def _constant(x: Any) -> Hashable:
    if isinstance(x, jax.core.Tracer):
        raise Unkeyed("An inner program holds a traced array.")
    return values.Held(x) if hasattr(x, "dtype") else _Itself(x)
