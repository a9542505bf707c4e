"""What the user's functions depend on, read off their jaxprs."""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from attention_jax.core.types import MaskFunction, Score


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
      of_query, of_key: of one side, to a vector of any width; None where it stays as it is.
      pair: the rest; None where it is the dot product of the two, times `scale`.
      scale: a number.
      width: of the longest vector on the way from a pair to its score; 1 for a dot product.
    """

    of_query: Callable[[Array], Array] | None
    of_key: Callable[[Array], Array] | None
    pair: Score | None
    scale: float = 1.0
    width: int = 1


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
    (by_query, query_scale), (by_key, key_scale) = _scaled(of_query, query), _scaled(of_key, key)
    jaxpr = jax.make_jaxpr(turned)(at[1], at[0]).jaxpr
    pair_scale = _dot_scale(jaxpr)
    if pair_scale is not None:
        return Parts(by_query, by_key, None, pair_scale * query_scale * key_scale)
    same = tuple(
        scale == 1 and by is None for by, scale in ((by_query, query_scale), (by_key, key_scale))
    )
    made: list[Any] = [x.aval for equation in jaxpr.eqns for x in equation.outvars]
    return Parts(
        None if same[0] else of_query,
        None if same[1] else of_key,
        lambda q, k: turned(k, q),
        width=max([1, *(math.prod(x.shape) for x in made)]),
    )


def _scaled(function: Callable[[Array], Array], x: Any) -> tuple[Any, float]:
    """`(None, scale)` where the function is a product with a fixed number, else `(function, 1)`."""
    jaxpr = jax.make_jaxpr(function)(x).jaxpr
    scale = _fixed_scale(jaxpr.eqns, jaxpr.invars[0], jaxpr.outvars[0])
    return (function, 1.0) if scale is None else (None, scale)


def _fixed_scale(equations: list[JaxprEqn], start: Any, end: Any) -> float | None:
    """What the equations multiply `start` by, to give `end`; None where they do something else."""
    scale = 1.0
    for equation in equations:
        first, *others = equation.invars
        if equation.primitive.name == "mul" and isinstance(first, Literal):
            first, others = equation.invars[1], [first]
        numbers = len(others) == 1 and isinstance(others[0], Literal)
        if first is not start or not numbers or equation.primitive.name not in ("mul", "div"):
            return None
        number = float(others[0].val)
        scale = scale * number if equation.primitive.name == "mul" else scale / number
        (start,) = equation.outvars
    return scale if start is end else None


def _dot_scale(jaxpr: Jaxpr) -> float | None:
    """The fixed number that multiplies the dot product of both arguments; None for all else."""
    if not jaxpr.eqns or jaxpr.eqns[0].primitive.name != "dot_general":
        return None
    product, *others = jaxpr.eqns
    first, second = product.invars
    whole = product.params["dimension_numbers"] == (((0,), (0,)), ((), ()))
    if first is second or {first, second} != set(jaxpr.invars) or not whole:
        return None
    return _fixed_scale(others, product.outvars[0], jaxpr.outvars[0])


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
        if _whole(wanted, wanted):
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


def hoist_invariant(function: Callable[..., Any], fixed: Any, *moving: Any) -> Callable[..., Any]:
    """`function(fixed, *moving)` as a function of `moving`; what needs `fixed` alone is done here.

    In a loop, XLA takes such work out of the forward pass, but not its derivative out of the
    backward pass, where each turn would go through a product with all keys again.

    Args:
      fixed: a pytree of arrays.
      *moving: examples of the other arguments, or their `jax.ShapeDtypeStruct`.
    """
    program, shape = jax.make_jaxpr(function, return_shape=True)(fixed, *moving)
    jaxpr, values, tree = program.jaxpr, jax.tree.leaves(fixed), jax.tree.structure(shape)
    own, others = jaxpr.invars[: len(values)], jaxpr.invars[len(values) :]
    moved, before, after = set(others), [], []
    for equation in jaxpr.eqns:
        needed = any(not isinstance(x, Literal) and x in moved for x in equation.invars)
        (after if needed else before).append(equation)
        moved.update(equation.outvars if needed else ())
    used = [*(x for equation in after for x in equation.invars), *jaxpr.outvars]
    wanted = {x for x in used if not isinstance(x, Literal)} - moved
    kept = [x for x in [*own, *(x for e in before for x in e.outvars)] if x in wanted]
    ready = _part(program, own, kept, before)(*values)

    def rest(*moving: Any) -> Any:
        run = _part(program, [*kept, *others], jaxpr.outvars, after)
        return jax.tree.unflatten(tree, run(*ready, *jax.tree.leaves(moving)))

    return rest


def _part(
    program: ClosedJaxpr, inputs: list[Any], outputs: list[Any], equations: list[JaxprEqn]
) -> Callable[..., list[Array]]:
    """Some of the equations of a program, as a function."""
    whole = program.jaxpr
    part = Jaxpr(whole.constvars, inputs, outputs, equations, whole.effects, whole.debug_info)
    return jaxpr_as_fun(ClosedJaxpr(part, program.consts))
