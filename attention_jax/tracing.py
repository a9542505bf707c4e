"""What the user's functions depend on, read off their jaxprs."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from attention_jax.types import MaskFunction, Score


def depends_on(mask: MaskFunction) -> tuple[bool, ...]:
    """Which of b, h, i, j the mask may depend on."""
    jaxpr = jax.make_jaxpr(mask)(*[jnp.int32(0)] * 4).jaxpr
    needed = _variables(jaxpr.outvars)
    for equation in reversed(jaxpr.eqns):
        if not needed.isdisjoint(equation.outvars):
            needed |= _variables(equation.invars)
    return tuple(x in needed for x in jaxpr.invars)


def split_score(score: Score, query: Any, key: Any) -> tuple[Callable[[Array], Array], Score]:
    """Takes out of a score all that needs the key alone.

        score(q, k) = rest(q, prepare(k))

    So a decoder that sees the same keys at every step prepares them once. `prepare` returns a
    vector, which need not be as wide as a key.

    Args:
      score: of one query and one key.
      query, key: an example of each, or its `jax.ShapeDtypeStruct`: [d].
    """
    closed = jax.make_jaxpr(score)(query, key)
    jaxpr = closed.jaxpr
    q, k = jaxpr.invars
    of_pair, of_key = _kinds(jaxpr.eqns, q, k)
    # Equations that need neither stand on both sides.
    before = [x for x in jaxpr.eqns if of_pair.isdisjoint(x.outvars)]
    after = [x for x in jaxpr.eqns if of_key.keys().isdisjoint(x.outvars)]
    wanted = _variables(x for equation in after for x in equation.invars)
    wanted |= _variables(jaxpr.outvars)
    kept = [x for x in of_key if x in wanted] or [k]
    arrays: list[Any] = [x.aval for x in kept]
    _, unravel = ravel_pytree([jnp.zeros(x.shape, x.dtype) for x in arrays])

    def prepare(key: Array) -> Array:
        return ravel_pytree(_function(closed, [k], kept, before)(key))[0]

    def rest(query: Array, prepared: Array) -> Array:
        return _function(closed, [q, *kept], jaxpr.outvars, after)(query, *unravel(prepared))[0]

    return prepare, rest


def _kinds(equations: list[JaxprEqn], q: Var, k: Var) -> tuple[set[Var], dict[Var, None]]:
    """The variables that need the query, and those that need the key alone, in their order.

    A whole number of the key counts as one of the pair, to be computed again: in a vector of
    floats it would lose digits.
    """
    of_pair, of_key = {q}, {k: None}
    for equation in equations:
        inputs = _variables(equation.invars)
        outputs: list[Any] = equation.outvars
        if inputs & of_pair:
            of_pair.update(outputs)
        elif not inputs.isdisjoint(of_key):
            floats = all(jnp.issubdtype(x.aval.dtype, jnp.floating) for x in outputs)
            (of_key if floats else of_pair).update(dict.fromkeys(outputs))
    return of_pair, of_key


def _variables(atoms: Iterable[Any]) -> set[Var]:
    return {x for x in atoms if not isinstance(x, Literal)}


def _function(
    closed: ClosedJaxpr, inputs: list[Var], outputs: list[Any], equations: list[JaxprEqn]
) -> Callable[..., list[Array]]:
    """Some of the equations of a jaxpr, as a function."""
    whole = closed.jaxpr
    part = Jaxpr(whole.constvars, inputs, outputs, equations, whole.effects, whole.debug_info)
    return jaxpr_as_fun(ClosedJaxpr(part, closed.consts))
