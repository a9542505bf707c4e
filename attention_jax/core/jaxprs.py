"""Programs (jaxprs) of functions: what they depend on and capture, and their parts."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var, jaxpr_as_fun
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree

from attention_jax.core import captured_arrays, hidden_pairs
from attention_jax.core.types import Like, MaskFunction, Score


def inner(equation: JaxprEqn) -> Iterator[Jaxpr]:
    """The programs that an equation runs: of a loop, a branch or a call."""
    is_program = lambda x: isinstance(x, (ClosedJaxpr, Jaxpr))  # noqa: E731
    for value in jax.tree.leaves(equation.params, is_leaf=is_program):
        if is_program(value):
            yield value.jaxpr if isinstance(value, ClosedJaxpr) else value


def walk(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    """All equations, those of inner programs after the equation that runs them."""
    for equation in jaxpr.eqns:
        yield equation
        for program in inner(equation):
            yield from walk(program)


def slice(
    program: ClosedJaxpr, inputs: Sequence[Var], outputs: Sequence[Var | Literal]
) -> ClosedJaxpr:
    """The part of a program that computes `outputs` from `inputs`, and captures what it needs.

    Args:
      inputs: variables that it is given, so that nothing before them is computed.
      outputs: variables, or literals.
    """
    whole, given = program.jaxpr, set(inputs)
    needed, kept = _variables(outputs), []
    for equation in reversed(whole.eqns):
        # An equation whose outputs are all given would only make them again.
        if not (needed - given).isdisjoint(equation.outvars):
            kept.append(equation)
            needed |= _variables(equation.invars)
    kept.reverse()
    values = dict(zip(whole.constvars, program.consts, strict=True))
    # In the order in which a trace of the part would meet them.
    read = [x for equation in kept for x in equation.invars] + list(outputs)
    captured = list(dict.fromkeys(x for x in read if not isinstance(x, Literal) and x in values))
    jaxpr = Jaxpr(captured, list(inputs), list(outputs), kept, whole.effects, whole.debug_info)
    return ClosedJaxpr(jaxpr, [values[x] for x in captured])


def split_invariant(
    jaxpr: Jaxpr,
    fixed: Sequence[Var],
    moving: Sequence[Var],
    portable: Callable[[Var], bool] = lambda x: True,
) -> list[Var]:
    """The variables at which a program is cut: they need no `moving`, and the rest needs them.

    `slice(program, fixed, cut)` computes them, and `slice(program, [*moving, *cut], outputs)` goes
    on from there.

    Args:
      fixed, moving: the inputs of the program.
      portable: whether a variable may be cut; what gives another is computed on both sides.
    """
    reached, equations = _reached(jaxpr.eqns, moving), jaxpr.eqns
    after = {n for n, x in enumerate(equations) if not reached.isdisjoint(x.outvars)}
    while True:
        made = {x for n in after for x in equations[n].outvars}
        wanted = _variables(x for n in after for x in equations[n].invars)
        wanted = (wanted | _variables(jaxpr.outvars)) - made - {*moving, *jaxpr.constvars}
        stuck = {x for x in wanted if not portable(x)} - set(fixed)
        if not stuck:
            before = [x for n, e in enumerate(equations) if n not in after for x in e.outvars]
            return [x for x in [*fixed, *before] if x in wanted]
        after |= {n for n, x in enumerate(equations) if not stuck.isdisjoint(x.outvars)}


def hoist_invariant(
    function: Callable[..., PyTree], fixed: PyTree, *moving: PyTree
) -> Callable[..., PyTree]:
    """`function(fixed, *moving)` as a function of `moving`; what needs `fixed` alone is done here.

    In a loop, XLA takes such work out of the forward pass, but not its derivative out of the
    backward pass, where each step would go through a product with all keys again. `fixed` is a
    pytree; `moving` are examples of the other arguments, or their types.
    """
    program, shape = jax.make_jaxpr(function, return_shape=True)(fixed, *moving)
    values, tree = jax.tree.leaves(fixed), jax.tree.structure(shape)
    inputs = program.jaxpr.invars
    own, others = inputs[: len(values)], inputs[len(values) :]
    cut = split_invariant(program.jaxpr, own, others)
    ready = jaxpr_as_fun(slice(program, own, cut))(*values)
    after = jaxpr_as_fun(slice(program, [*cut, *others], program.jaxpr.outvars))

    def rest(*moving: PyTree) -> PyTree:
        return jax.tree.unflatten(tree, after(*ready, *jax.tree.leaves(moving)))

    return rest


def depends_on(mask: MaskFunction) -> tuple[bool, ...]:
    """For each of b, h, i, j, whether the mask may depend on it."""
    call = partial(captured_arrays.call, mask)
    return inputs_used(jax.make_jaxpr(call)(*[jnp.int32(0)] * 4).jaxpr)


def inputs_used(jaxpr: Jaxpr) -> tuple[bool, ...]:
    """For each input of a program, whether its outputs may depend on it."""
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
      others: captured integers, booleans and random keys.
      guarded: `(visible, floats, others, *arguments) -> result`, whose derivatives are 0 where the
        pair is hidden; None where those of `function` are finite there. See `core.hidden_pairs`.
    """

    function: Callable[..., Array]
    floats: tuple[Array, ...]
    others: tuple[Array, ...]
    guarded: Callable[..., Array] | None = None


def hoist(program: ClosedJaxpr, *, finite: bool = False) -> Hoisted:
    """Makes arguments of all that a function captured, so that each gets its derivative.

    Args:
      program: the trace of a function of arrays, to one array.
      finite: whether its floating-point arguments are finite where pairs are hidden.
    """
    consts, shape = [jnp.asarray(x) for x in program.consts], program.out_avals[0]
    inexact = [jnp.issubdtype(x.dtype, jnp.inexact) for x in consts]
    jaxpr = _without_arrays(program)

    def captured(floats: tuple[Array, ...], others: tuple[Array, ...]) -> list[Array]:
        kinds = iter(floats), iter(others)
        return [next(kinds[0] if is_float else kinds[1]) for is_float in inexact]

    def hoisted(floats: tuple[Array, ...], others: tuple[Array, ...], *arguments: Array) -> Array:
        # An array even where the program is a number.
        found = jax.core.eval_jaxpr(jaxpr, captured(floats, others), *arguments)[0]
        return jnp.asarray(found, shape.dtype)

    def guarded(visible: Array, floats: Any, others: Any, *arguments: Array) -> Array:
        return hidden_pairs.evaluate(
            jaxpr, captured(floats, others), arguments, visible, finite=finite
        )[0]

    return Hoisted(
        hoisted,
        tuple(x for x, is_float in zip(consts, inexact, strict=True) if is_float),
        tuple(x for x, is_float in zip(consts, inexact, strict=True) if not is_float),
        guarded if hidden_pairs.needs_guard(jaxpr, finite=finite) else None,
    )


def _without_arrays(program: ClosedJaxpr) -> Jaxpr:
    """The program alone: functions that outlive a trace must hold no array of it.

    Since jax 0.12 it holds what it captured by itself.
    """
    jaxpr = program.jaxpr
    held = getattr(jaxpr, "consts", ())
    return jaxpr.replace(consts=[None] * len(held)) if held else jaxpr


class Parts(NamedTuple):
    """A score in parts: `pair(of_query(q), of_key(k))`, or `pair(of_query(q), of_key(k), *at)`.

    Attributes:
      of_query, of_key: of one side, to a vector of any width; None where it stays as it is.
      pair: the rest; None where it is the dot product of the two, times `scale`.
      scale: a number.
      width: of the longest vector between a pair and its score; 1 for a dot product.
      guarded: of_query and of_key as `(seen, x) -> vector`, 0 where a vector has no visible pair,
        and so are its derivatives; None where those are finite everywhere.
      positions: whether the pair depends on `at`, its b, h, i and j.
    """

    of_query: Callable[[Array], Array] | None
    of_key: Callable[[Array], Array] | None
    pair: ClosedJaxpr | None
    scale: float = 1.0
    width: int = 1
    guarded: tuple[Callable[[Array, Array], Array] | None, ...] = (None, None)
    positions: bool = False

    @property
    def dot_scale(self) -> float | None:
        """The number that multiplies the dot product of the vectors; None for other scores."""
        whole = self.of_query is None and self.of_key is None and self.pair is None
        return self.scale if whole else None


def split_pair(score: ClosedJaxpr) -> Parts:
    """Takes out of a score all that needs the query alone, and all that needs the key alone.

    Args:
      score: the trace of a function of one query and one key, [d]; and of b, h, i, j, or not.
    """
    q, k, *at = score.jaxpr.invars
    at = at if any(inputs_used(score.jaxpr)[2:]) else []
    of_key = _side(score, k, [q, *at])
    rest = slice(score, [q, *of_key.cut, *at], score.jaxpr.outvars)
    of_query = _side(rest, q, [*of_key.cut, *at])
    sides = of_query, of_key
    pair = slice(rest, [*of_query.cut, *of_key.cut, *at], rest.jaxpr.outvars)
    if any(x.unpack is not None for x in sides):
        pair = _of_packed(pair, *sides, positions=len(at))
    scale, guarded = _dot_scale(pair.jaxpr), tuple(x.guarded for x in sides)
    if scale is not None:
        for side in sides:
            scale *= 1.0 if side.scale is None else side.scale
        by_query, by_key = (x.prepare if x.scale is None else None for x in sides)
        return Parts(by_query, by_key, None, scale, guarded=guarded)
    made: list[Any] = [x.aval for equation in pair.jaxpr.eqns for x in equation.outvars]
    by_query, by_key = (None if x.scale == 1 else x.prepare for x in sides)
    width = max([1, *(math.prod(x.shape) for x in made)])
    return Parts(by_query, by_key, pair, width=width, guarded=guarded, positions=bool(at))


def split_score(score: Score, query: Like, key: Like) -> tuple[Callable[[Array], Array], Score]:
    """Takes out of a score all that needs the key alone.

        score(q, k) = rest(q, prepare(k))

    So a decoder that sees the same keys at every step prepares them once. `prepare` returns a
    vector, which need not be as wide as a key. `query` and `key` are examples, or their types: [d].
    """
    program = jax.make_jaxpr(score)(query, key)
    q, k = program.jaxpr.invars
    side = _side(program, k, [q])
    after = jaxpr_as_fun(slice(program, [q, *side.cut], program.jaxpr.outvars))

    def rest(query: Array, prepared: Array) -> Array:
        return after(query, *([prepared] if side.unpack is None else side.unpack(prepared)))[0]

    return side.prepare, rest


class _Side(NamedTuple):
    """The part of a score that needs its query alone, or its key alone.

    Attributes:
      cut: the variables of the score at which the rest goes on.
      prepare: from the query or key to these, as one vector.
      vector: its shape and dtype.
      unpack: from that vector to the variables; None where it is the only one.
      scale: where `prepare` is nothing but a product with a fixed number, that number.
      guarded: as of `Parts`.
    """

    cut: list[Var]
    prepare: Callable[[Array], Array]
    vector: jax.ShapeDtypeStruct
    unpack: Callable[[Array], list[Array]] | None = None
    scale: float | None = None
    guarded: Callable[[Array, Array], Array] | None = None


def _side(score: ClosedJaxpr, own: Var, others: Sequence[Var]) -> _Side:
    """Splits off what needs the input `own` alone.

    Only floats are taken over: in a vector of floats an integer would lose digits, and a boolean
    its meaning, so what gives them is computed again, and so is what needs neither side.
    """
    reached = _reached(score.jaxpr.eqns, [own])

    def portable(x: Any) -> bool:
        return x in reached and jnp.issubdtype(x.aval.dtype, jnp.floating)

    cut = split_invariant(score.jaxpr, [own], others, portable) or [own]
    part = slice(score, [own], cut)
    compute = jaxpr_as_fun(part)
    made: list[Any] = [x.aval for x in cut]
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in made]
    guarded, plain = None, len(cut) == 1 and len(shapes[0].shape) == 1
    pack = (lambda made: made[0]) if plain else lambda made: ravel_pytree(made)[0]
    if hidden_pairs.needs_guard(part.jaxpr, finite=True):
        guarded = partial(_guarded, part, pack)
    if plain:
        scale = _fixed_scale(part.jaxpr.eqns, own, cut[0])
        return _Side(cut, lambda x: pack(compute(x)), shapes[0], scale=scale, guarded=guarded)
    packed, unpack = ravel_pytree([jnp.zeros(x.shape, x.dtype) for x in shapes])
    vector = jax.ShapeDtypeStruct(packed.shape, packed.dtype)
    return _Side(cut, lambda x: pack(compute(x)), vector, unpack, guarded=guarded)


def _guarded(part: ClosedJaxpr, pack: Callable[..., Array], seen: Array, x: Array) -> Array:
    """A vector of a query or a key; 0, with derivatives of 0, where it has no visible pair."""
    made = pack(hidden_pairs.evaluate(part.jaxpr, part.consts, [x], seen, finite=True))
    return lax.select_n(seen, jnp.zeros_like(made), made)


def _of_packed(pair: ClosedJaxpr, *sides: _Side, positions: int) -> ClosedJaxpr:
    """The trace of a function of the two vectors, from that of their variables."""

    def of_vectors(*given: Array) -> Array:
        vectors, at = given[: len(sides)], given[len(sides) :]
        variables = [
            [x] if side.unpack is None else side.unpack(x)
            for side, x in zip(sides, vectors, strict=True)
        ]
        return jaxpr_as_fun(pair)(*itertools.chain(*variables), *at)[0]

    at = (jax.ShapeDtypeStruct((), jnp.int32),) * positions
    return jax.make_jaxpr(of_vectors)(*(x.vector for x in sides), *at)


def _fixed_scale(equations: list[JaxprEqn], start: Any, end: Any) -> float | None:
    """The number by which the equations multiply `start` to give `end`; None for all else."""
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


def _reached(equations: Iterable[JaxprEqn], start: Iterable[Var]) -> set[Var]:
    """All variables that depend on one of these, and these."""
    reached = set(start)
    for equation in equations:
        if not reached.isdisjoint(_variables(equation.invars)):
            reached.update(equation.outvars)
    return reached


def _variables(atoms: Iterable[Any]) -> set[Var]:
    return {x for x in atoms if not isinstance(x, Literal)}
