"""Functions taken apart from the arrays that they capture, to be bound to others in their place."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jaxtyping import Array, PyTree

from attention_jax.core import values
from attention_jax.core.masks import both, conjuncts
from attention_jax.core.types import MaskFunction


class Lifted(NamedTuple):
    """A function and what it captures.

    Attributes:
      arrays: the captured ones.
      bound: `arrays -> function`, with others in their place.
    """

    arrays: PyTree
    bound: Callable[[PyTree], Any]


def lift(function: Callable | None, program: ClosedJaxpr | None) -> Lifted:
    """Takes a function apart from what it captures; one that captures nothing stays itself.

    What is bound again may be traced where arrays have other types, as in another mesh.

    Args:
      program: the trace of the function, to one array; None where there is no function.
    """
    if function is None or program is None or not program.consts:
        return Lifted((), lambda arrays: function)
    held = values.arrays_of(function)
    if len(held) >= len(program.consts):
        empty = values.without_arrays(function)
        # What is one array stays one.
        first = [next(i for i, x in enumerate(held) if x is own) for own in held]
        return Lifted(held, lambda arrays: values.with_arrays(empty, [arrays[i] for i in first]))
    consts = [jnp.asarray(x) for x in program.consts]

    def bound(arrays: PyTree) -> Callable[..., Array]:
        # With its signature, that tells what it takes.
        @functools.wraps(function)
        def evaluated(*arguments: Array) -> Array:
            return _evaluated(program.jaxpr, arrays, arguments)[0]

        return evaluated

    return Lifted(consts, bound)


def lift_mask(mask: MaskFunction | None, programs: Iterable[ClosedJaxpr]) -> Lifted:
    """Takes a mask apart from what its conjuncts capture.

    Args:
      programs: the traces of the conjuncts, in their order.
    """
    parts = [lift(*x) for x in zip(conjuncts(mask), programs, strict=True)]

    def bound(arrays: Sequence[PyTree]) -> MaskFunction | None:
        own = (x.bound(given) for x, given in zip(parts, arrays, strict=True))
        return functools.reduce(both, own, None)

    return Lifted([x.arrays for x in parts], bound)


def _evaluated(jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    """The outputs of a program, its calls of others taken apart: these have types of their own."""
    held = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments), strict=True))
    read = lambda x: _literal(x) if isinstance(x, Literal) else held[x]  # noqa: E731
    for equation in jaxpr.eqns:
        given, params = list(map(read, equation.invars)), equation.params
        if equation.primitive.name == "jit":
            out = _evaluated(params["jaxpr"].jaxpr, params["jaxpr"].consts, given)
        else:
            out = equation.primitive.bind(*given, **equation.primitive.get_bind_params(params))
            out = out if equation.primitive.multiple_results else [out]
        held |= dict(zip(equation.outvars, out, strict=True))
    return list(map(read, jaxpr.outvars))


def _literal(x: Literal) -> np.ndarray:
    """The number of a literal without the mesh of its trace, which a type of JAX's own has."""
    return np.asarray(x.val, getattr(x.aval, "dtype", None))
