"""Lowering of a function of one pair to a tile of pairs, where only some primitives exist.

The user's `score_mod` and `mask` are functions of one pair. Here they run on all pairs of a tile
at once, with queries along its rows and keys along its columns. What they compute from captured
arrays alone is computed before; what they look up there is loaded.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Literal
from jaxtyping import Array, PyTree

from attention_jax.core.types import Like

# So many numbers of an array may be computed with for each pair.
MOST_NUMBERS = 16

# Primitives that may run on a tile as they stand.
ELEMENTWISE = frozenset(
    "abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp "
    "convert_element_type copy cos cosh div eq exp exp2 expm1 floor ge gt integer_pow is_finite le "
    "log log1p logistic lt max min mul ne neg not one_minus_square or pow rem rsqrt select_n "
    "shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square "
    "stop_gradient sub tan tanh xor".split()
)
# Those of them that Mosaic GPU lowers, in JAX 0.12.
ELEMENTWISE_MOSAIC = ELEMENTWISE - frozenset(
    "acos acosh add_any asin asinh atan atanh cbrt ceil copy cosh expm1 floor is_finite log1p pow "
    "sinh stop_gradient tan".split()
)
CALLS = frozenset(
    "jit pjit closed_call core_call custom_jvp_call custom_vjp_call checkpoint remat remat2".split()
)
# Primitives that only move numbers about, as functions of arrays of their places.
MOVES: dict[str, Callable[..., np.ndarray]] = {
    "broadcast_in_dim": lambda x, shape, broadcast_dimensions, **_: np.broadcast_to(
        x.reshape([n if axis in broadcast_dimensions else 1 for axis, n in enumerate(shape)]), shape
    ),
    "concatenate": lambda *xs, dimension: np.concatenate(xs, dimension),
    "reshape": lambda x, new_sizes, **_: x.reshape(new_sizes),
    "squeeze": lambda x, dimensions: np.squeeze(x, dimensions),
    "stack": lambda *xs, axis: np.stack(xs, axis),
    "transpose": lambda x, permutation: np.transpose(x, permutation),
}


class Refused(NotImplementedError):
    """The step of a function that cannot be done on tiles."""


class Slot(NamedTuple):
    """A value that differs between pairs."""

    number: int


class Operand(NamedTuple):
    """An array that is the same for all pairs, and is read from memory."""

    number: int
    shape: tuple[int, ...]
    dtype: Any


class Step(NamedTuple):
    primitive: Any
    params: dict[str, Any]
    inputs: tuple[Any, ...]
    outputs: tuple[Slot, ...]


class Program(NamedTuple):
    """A function of one pair, as steps that a tile of pairs can take."""

    arguments: tuple[Slot, ...]
    steps: tuple[Step, ...]
    results: tuple[Any, ...]


class View(NamedTuple):
    """A part of an operand, wherever a tile says that it starts."""

    operand: Operand
    starts: tuple[Any, ...]  # along each axis of the operand
    axes: tuple[int, ...]  # of the operand, that the part has
    sizes: tuple[int, ...]
    inside: Any = None  # where it lies in the operand; None for everywhere
    fill: Any = 0  # what stands elsewhere


def program(function: Callable[..., PyTree], *examples: Like) -> tuple[Program, tuple[Array, ...]]:
    """Splits a function of scalars into operands, computed now, and steps for each tile.

    Returns:
      The program and its operands, flat.
    """
    closed = jax.make_jaxpr(function)(*examples)
    numbers = itertools.count()
    arguments = tuple(Slot(next(numbers)) for _ in closed.jaxpr.invars)
    steps: list[Step] = []
    results = _flatten(closed.jaxpr, closed.consts, arguments, steps, numbers)
    operands: dict[int, tuple[Operand, Any]] = {}

    def settle(x: Any) -> Any:
        if isinstance(x, Slot):
            return x
        if jnp.issubdtype(x.dtype, jax.dtypes.extended) or not x.size:
            raise Refused(f"reads an array of {x.dtype} of shape {x.shape}")
        if x.ndim == 0 and not isinstance(x, jax.core.Tracer):
            return np.asarray(x)
        return operands.setdefault(id(x), (Operand(len(operands), x.shape, x.dtype), x))[0]

    steps = [x._replace(inputs=tuple(settle(y) for y in x.inputs)) for x in steps]
    results = tuple(settle(x) for x in results)
    flat = (jnp.ravel(x) for _, x in operands.values())
    flat = tuple(x.astype(jnp.int8) if x.dtype == jnp.bool_ else x for x in flat)
    return Program(arguments, tuple(steps), results), flat


def _flatten(
    jaxpr: Any, consts: Any, values: Any, steps: list[Step], numbers: Iterator[int]
) -> list[Any]:
    """Adds the equations that need a slot to `steps`, and evaluates the others."""
    env = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *values), strict=True))

    def read(x: Any) -> Any:
        return np.asarray(x.val, x.aval.dtype) if isinstance(x, Literal) else env[x]

    for equation in jaxpr.eqns:
        inputs = [read(x) for x in equation.invars]
        if equation.primitive.name in CALLS:
            inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
            inner, consts = getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())
            outputs = _flatten(inner, consts, inputs, steps, numbers)
        elif any(isinstance(x, Slot) for x in inputs):
            outputs = tuple(Slot(next(numbers)) for _ in equation.outvars)
            steps.append(Step(equation.primitive, equation.params, tuple(inputs), outputs))
        else:
            known = not any(isinstance(x, jax.core.Tracer) for x in inputs)
            with jax.ensure_compile_time_eval() if known else contextlib.nullcontext():
                outputs = equation.primitive.bind(*inputs, **equation.params)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
        env.update(zip(equation.outvars, outputs, strict=True))
    return [read(x) for x in jaxpr.outvars]


def with_slope(score_mod: Callable[..., Array]) -> Callable[..., tuple[Array, Array]]:
    """The modified score and its derivative in the score."""

    def both(score: Array, *at: Array) -> tuple[Array, Array]:
        change = lambda x: score_mod(x, *at).astype(x.dtype)  # noqa: E731
        return jax.jvp(change, (score,), (jnp.ones_like(score),))

    return both


class Machine:
    """Runs a program on tiles: arrays of shape `[]`, or `[queries or 1, keys or 1]`.

    A value of the program is an array of places in a list of tiles, for most an array of one.

    Args:
      read: `(operand, place, inside, fill) -> numbers`, what an operand holds at a place.
      elementwise: primitives that may run on a tile.
    """

    def __init__(self, read: Callable[..., Array], elementwise: frozenset[str] = ELEMENTWISE):
        self.read, self.elementwise = read, elementwise
        self.tiles: list[Array] = []
        self.env: dict[Slot, Any] = {}

    def run(self, steps: Program, *arguments: Array) -> list[Array]:
        for slot, tile in zip(steps.arguments, arguments, strict=True):
            self.env[slot] = self.keep(tile)
        for step in steps.steps:
            (self.env[step.outputs[0]],) = (self.take(step),)
        return [self.tiles[int(self.places(x))] for x in steps.results]

    def keep(self, tile: Array) -> np.ndarray:
        self.tiles.append(tile)
        return np.asarray(len(self.tiles) - 1)

    def value(self, x: Any) -> Any:
        if isinstance(x, Slot):
            return self.env[x]
        if isinstance(x, Operand):
            rank = len(x.shape)
            return View(x, (0,) * rank, tuple(range(rank)), x.shape)
        return self.keep(lax.full((), x.item(), x.dtype))

    def places(self, x: Any) -> np.ndarray:
        """Loads what is not loaded yet."""
        x = self.value(x)
        if not isinstance(x, View):
            return x
        if math.prod(x.sizes) > MOST_NUMBERS:
            raise Refused(f"computes with an array of shape {x.sizes} for each pair")
        places = np.empty(x.sizes, int)
        for at in np.ndindex(x.sizes):
            places[at] = self.keep(self.load(x, at))
        return places

    def load(self, view: View, at: tuple[int, ...]) -> Array:
        place, shape = list(view.starts), view.operand.shape
        for axis, n in zip(view.axes, at, strict=True):
            place[axis] = place[axis] + n
        flat: Any = jnp.int32(0)
        for start, stride in zip(place, _strides(shape), strict=True):
            flat = flat + start * stride
        inside, is_boolean = view.inside, view.operand.dtype == jnp.bool_
        if inside is not None:
            flat, inside = jnp.broadcast_arrays(flat, inside)
        fill = int(view.fill) if is_boolean else view.fill
        x = self.read(view.operand.number, flat, inside, fill)
        return x != 0 if is_boolean else x

    def take(self, step: Step) -> Any:
        name, params = step.primitive.name, step.params
        first = self.value(step.inputs[0])
        if name in ("dynamic_slice", "gather") and isinstance(first, View):
            starts = [self.places(x) for x in step.inputs[1:]]
            if name == "dynamic_slice":
                return self.part(first, [self.tiles[int(x)] for x in starts], **params)
            return self.gather(first, *starts, **params)
        if name == "squeeze" and isinstance(first, View):
            return _without(first, params["dimensions"])
        if name not in self.elementwise and name not in MOVES:
            raise Refused(f"uses `{name}`, which has no form on tiles")
        inputs = [self.places(x) for x in step.inputs]
        if name in MOVES:
            return MOVES[name](*inputs, **params)
        inputs = np.broadcast_arrays(*inputs)
        out = np.empty(inputs[0].shape, int)
        for at in np.ndindex(out.shape):
            tiles = jnp.broadcast_arrays(*(self.tiles[int(x[at])] for x in inputs))
            out[at] = self.keep(step.primitive.bind(*tiles, **params))
        return out

    def part(self, view: View, starts: list[Array], slice_sizes: tuple[int, ...]) -> View:
        """A part of a part, moved inward where it would not fit."""
        place = list(view.starts)
        for axis, n, size, start in zip(view.axes, view.sizes, slice_sizes, starts, strict=True):
            place[axis] = place[axis] + jnp.clip(start.astype(jnp.int32), 0, n - size)
        return view._replace(starts=tuple(place), sizes=tuple(slice_sizes))

    def gather(self, view: View, index: np.ndarray, **params: Any) -> View:
        numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
        if index.ndim != 1 or numbers.operand_batching_dims or view.inside is not None:
            raise Refused("looks up several places of an array at once")
        starts: list[Any] = [jnp.int32(0)] * len(sizes)
        for axis, place in zip(numbers.start_index_map, index, strict=True):
            starts[axis] = self.tiles[int(place)].astype(jnp.int32)
        found = _without(self.part(view, starts, sizes), numbers.collapsed_slice_dims)
        if params["mode"] != lax.GatherScatterMode.FILL_OR_DROP:
            return found
        inside: Any = jnp.bool_(True)
        for start, n, size in zip(starts, view.sizes, sizes, strict=True):
            inside = inside & (start >= 0) & (start <= n - size)
        fill = params["fill_value"]
        if fill is None and not jnp.issubdtype(view.operand.dtype, jnp.floating):
            raise Refused("looks up whole numbers beyond their end without a `fill_value`")
        return found._replace(inside=inside, fill=jnp.nan if fill is None else fill)


def _without(view: View, dimensions: tuple[int, ...]) -> View:
    left = [n for n in range(len(view.axes)) if n not in dimensions]
    axes, sizes = (tuple(x[n] for n in left) for x in (view.axes, view.sizes))
    return view._replace(axes=axes, sizes=sizes)


def _strides(shape: tuple[int, ...]) -> list[int]:
    return [math.prod(shape[n + 1 :]) for n in range(len(shape))]


def same_for_all(operands: Sequence[PyTree]) -> Callable[..., Array]:
    """A `read` of `Machine` that looks up numbers which all pairs of a tile share.

    Args:
      operands: flat arrays, or references to such.
    """

    def read(number: int, place: Array, inside: Array | None, fill: Any) -> Array:
        if jnp.ndim(place):
            raise Refused("looks up an array at the position of a query or a key")
        if inside is None:
            return operands[number][place]
        return jnp.where(inside, operands[number][jnp.where(inside, place, 0)], fill)

    return read
