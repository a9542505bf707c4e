"""What the user's functions depend on, read off their jaxprs."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

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


class Hoisted(NamedTuple):
    """A function without captured arrays.

    Attributes:
      function: `(floats, others, *arguments) -> result`.
      floats: the captured arrays that have a derivative.
      others: captured whole numbers, booleans and random keys.
    """

    function: Callable[..., Array]
    floats: tuple[Array, ...]
    others: tuple[Array, ...]


def hoist(function: Callable[..., Array], *examples: Any) -> Hoisted:
    """Makes arguments of all that a function captures, so that each gets its derivative.

    Args:
      function: of arrays, to one array.
      examples: its arguments, or their `jax.ShapeDtypeStruct`.
    """
    closed = jax.make_jaxpr(function)(*examples)
    consts = [jnp.asarray(x) for x in closed.consts]
    inexact = [jnp.issubdtype(x.dtype, jnp.inexact) for x in consts]

    def hoisted(floats: tuple[Array, ...], others: tuple[Array, ...], *arguments: Any) -> Array:
        kinds = iter(floats), iter(others)
        captured = [next(kinds[0] if is_float else kinds[1]) for is_float in inexact]
        return jax.core.eval_jaxpr(closed.jaxpr, captured, *arguments)[0]

    return Hoisted(
        hoisted,
        tuple(x for x, is_float in zip(consts, inexact, strict=True) if is_float),
        tuple(x for x, is_float in zip(consts, inexact, strict=True) if not is_float),
    )


class Parts(NamedTuple):
    """A score in parts: `pair(of_query(q), of_key(k))`.

    Attributes:
      of_query, of_key: of one side, to a vector of any width.
      pair: the rest; None where it is the dot product of the two.
    """

    of_query: Callable[[Array], Array]
    of_key: Callable[[Array], Array]
    pair: Score | None


def split_pair(score: Score, query: Any, key: Any) -> Parts:
    """Takes out of a score all that needs the query alone, and all that needs the key alone.

    Args:
      score: of one query and one key.
      query, key: an example of each, or its `jax.ShapeDtypeStruct`: [d].
    """
    of_key, rest = split_score(score, query, key)
    prepared = jax.eval_shape(of_key, key)
    of_query, turned = split_score(lambda k, q: rest(q, k), prepared, query)
    at = jax.eval_shape(of_query, query), prepared
    if _is_dot(jax.make_jaxpr(turned)(at[1], at[0]).jaxpr):
        return Parts(of_query, of_key, None)
    return Parts(of_query, of_key, lambda q, k: turned(k, q))


def _is_dot(jaxpr: Jaxpr) -> bool:
    """Whether it is the dot product of its two arguments, and nothing else."""
    if len(jaxpr.eqns) != 1 or jaxpr.eqns[0].primitive.name != "dot_general":
        return False
    (product,) = jaxpr.eqns
    vectors = product.invars[0] is not product.invars[1] and set(product.invars) == set(jaxpr.invars)
    whole = product.params["dimension_numbers"] == (((0,), (0,)), ((), ()))
    return vectors and whole and list(jaxpr.outvars) == list(product.outvars)


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
    before, after, kept = _divide(jaxpr, q, k)
    arrays: list[Any] = [x.aval for x in kept]
    zeros = [jnp.zeros(x.shape, x.dtype) for x in arrays]
    one = len(zeros) == 1 and zeros[0].ndim == 1
    unravel = (lambda x: [x]) if one else ravel_pytree(zeros)[1]

    def prepare(key: Array) -> Array:
        parts = _function(closed, [k], kept, before)(key)
        return parts[0] if one else ravel_pytree(parts)[0]

    def rest(query: Array, prepared: Array) -> Array:
        return _function(closed, [q, *kept], jaxpr.outvars, after)(query, *unravel(prepared))[0]

    return prepare, rest


def _divide(jaxpr: Jaxpr, q: Var, k: Var) -> tuple[list[JaxprEqn], list[JaxprEqn], list[Var]]:
    """Equations that need not the query, those that are left, and what these take of the key.

    Only floats are taken over: in a vector of floats a whole number would lose digits, and a
    boolean its meaning, so what gives them is computed again. Equations that need neither side
    stand on both.
    """
    of_query = _reached(jaxpr.eqns, q)
    of_key = _reached(jaxpr.eqns, k)
    before = [x for x in jaxpr.eqns if of_query.isdisjoint(x.outvars)]
    again = {n for n, x in enumerate(jaxpr.eqns) if of_key.isdisjoint(x.outvars)}
    again |= {n for n, x in enumerate(jaxpr.eqns) if not of_query.isdisjoint(x.outvars)}
    while True:
        after = [x for n, x in enumerate(jaxpr.eqns) if n in again]
        made = {x for equation in after for x in equation.outvars}
        wanted = _variables(x for equation in after for x in equation.invars)
        wanted = (wanted | _variables(jaxpr.outvars)) & of_key - made
        if all(jnp.issubdtype(x.aval.dtype, jnp.floating) for x in wanted):
            order = [k, *(x for equation in before for x in equation.outvars)]
            return before, after, [x for x in order if x in wanted] or [k]
        again |= {n for n, x in enumerate(jaxpr.eqns) if not _whole(x.outvars, wanted)}


def _reached(equations: list[JaxprEqn], start: Var) -> set[Any]:
    """All variables that depend on one."""
    reached: set[Any] = {start}
    for equation in equations:
        if not reached.isdisjoint(_variables(equation.invars)):
            reached.update(equation.outvars)
    return reached


def _whole(outputs: Iterable[Any], wanted: set[Any]) -> bool:
    """Whether none of the outputs is wanted without being a float."""
    return all(x not in wanted or jnp.issubdtype(x.aval.dtype, jnp.floating) for x in outputs)


def _variables(atoms: Iterable[Any]) -> set[Var]:
    return {x for x in atoms if not isinstance(x, Literal)}


def _function(
    closed: ClosedJaxpr, inputs: list[Var], outputs: list[Any], equations: list[JaxprEqn]
) -> Callable[..., list[Array]]:
    """Some of the equations of a jaxpr, as a function."""
    whole = closed.jaxpr
    part = Jaxpr(whole.constvars, inputs, outputs, equations, whole.effects, whole.debug_info)
    return jaxpr_as_fun(ClosedJaxpr(part, closed.consts))
