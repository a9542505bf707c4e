"""Programs without calls of others: what a converter is given, which knows plain operations.

Calls are put in place of what they call: of `jit`, of functions with rules for their derivatives,
and of checkpoints. Barriers to XLA's optimization, which mean nothing elsewhere, are left out.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal
from jaxtyping import Array

_CALLS = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call")
_CALLS += ("checkpoint", "remat", "remat2", "custom_vjp_call_jaxpr")
_PASSES_ON = "optimization_barrier"


def inlined(program: ClosedJaxpr, first: Sequence[Array] = ()) -> ClosedJaxpr:
    """The program, and those of its loops and branches, without calls.

    Args:
      first: arrays that its first inputs are from now on.
    """

    def run(*arguments: Any) -> list[Any]:
        return _evaluated(program.jaxpr, program.consts, (*first, *arguments))

    return jax.make_jaxpr(run)(*list(_shapes(program))[len(first) :])


def _shapes(program: ClosedJaxpr) -> Iterator[jax.ShapeDtypeStruct]:
    for x in program.in_avals:
        weak = getattr(x, "weak_type", False)
        yield jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=weak)


def _evaluated(jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    held = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments), strict=True))
    for equation in jaxpr.eqns:
        given = [_literal(x) if isinstance(x, Literal) else held[x] for x in equation.invars]
        held |= dict(zip(equation.outvars, _applied(equation, given), strict=True))
    return [_literal(x) if isinstance(x, Literal) else held[x] for x in jaxpr.outvars]


def _applied(equation: JaxprEqn, given: list[Any]) -> list[Any]:
    """The outputs of one operation."""
    name, params = equation.primitive.name, equation.params
    if name == _PASSES_ON:
        return given
    if name in _CALLS:
        inner = next(x for x in params.values() if isinstance(x, (ClosedJaxpr, Jaxpr)))
        return _evaluated(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), given)
    params = {x: _within(y) for x, y in params.items()}
    if name == "scan" and params["reverse"]:
        return _from_the_front(equation, given, params)
    out = equation.primitive.bind(*given, **params)
    return list(out) if equation.primitive.multiple_results else [out]


def _from_the_front(equation: JaxprEqn, given: list[Any], params: dict[str, object]) -> list[Any]:
    """A loop from the last position to the first, as one over sequences that are turned around."""
    body = equation.params["jaxpr"]
    turned = map(_turned, given, equation.invars, body.jaxpr.invars)
    out = equation.primitive.bind(*turned, **params | {"reverse": False})
    return list(map(_turned, out, equation.outvars, body.jaxpr.outvars))


def _turned(x: Any, outside: Any, inside: Any) -> Any:
    """An array with its first axis turned around, where the body of a loop sees less of it."""
    return x if len(outside.aval.shape) == len(inside.aval.shape) else lax.rev(x, (0,))


def _within(value: Any) -> Any:
    """A parameter of an operation, whose programs have no calls either."""
    if isinstance(value, tuple):
        own = [_within(x) for x in value]
        return type(value)(*own) if hasattr(value, "_fields") else tuple(own)
    return inlined(value) if isinstance(value, ClosedJaxpr) else value


def _literal(x: Literal) -> np.ndarray:
    """The number of a literal."""
    return np.asarray(x.val, getattr(x.aval, "dtype", None))
