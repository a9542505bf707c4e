"""Pallas and cuDNN: softmax attention of dot products on a GPU, in one kernel.

The Pallas kernels hold the user's `score_mod` and `mask`. Both are functions of one pair; here
they run on a tile of pairs at once, with queries along its rows and keys along its columns. What
they compute from captured arrays alone is computed before; what they look up there is loaded.

First derivatives of queries, keys and values are kernels too. Those of captured arrays, forward
mode and second derivatives are those of `attention_jax.blockwise`: exact, and in linear memory.

Products of float32 follow `jax.default_matmul_precision`, as all of JAX; on a GPU that is TF32
unless it is set to "highest".
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jax.extend.core import Literal
from jaxtyping import Array, Float, Int

from attention_jax import blocks, blockwise, linear, masks, normalizers, online, scores, tracing
from attention_jax.blocks import BlockMap, Shape, Sizes
from attention_jax.tracing import Hoisted
from attention_jax.types import MaskFunction, Score, ScoreMod

Offset = int | Int[Array, ""]

# exp(x) = exp2(x log2(e)): a GPU has an instruction for the latter.
LOG2_E = math.log2(math.e)
# The least a tensor core multiplies.
LEAST = 16
WIDEST = 256
CUDNN_WIDEST = 128
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
    """What a function does that cannot be done on tiles."""


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


def program(function: Callable[..., Any], *examples: Any) -> tuple[Program, tuple[Array, ...]]:
    """Splits a function of scalars into what is computed now, and steps for each tile.

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


class Machine:
    """Runs a program on tiles: arrays of shape `[]`, or `[queries or 1, keys or 1]`.

    A value of the program is an array of places in a list of tiles, for most an array of one.
    """

    def __init__(self, read: Callable[..., Array]):
        self.read = read
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
        if name not in ELEMENTWISE and name not in MOVES:
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
        """A part of a part, moved inwards where it would not fit."""
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


class Static(NamedTuple):
    """All that is no array.

    Attributes:
      widths, sizes: of keys and values; of a block of queries and of keys.
      score_mod, mask: without captured arrays.
      exact: `(arrays, fixed) -> (out, lse)` by `attention_jax.blockwise`.
    """

    shape: Shape
    widths: tuple[int, int]
    sizes: tuple[int, int]
    scale: float
    score_mod: Hoisted | None
    mask: Hoisted | None
    tiling: BlockMap
    exact: Callable[..., Any]
    interpret: bool


class Arrays(NamedTuple):
    """What has a derivative; the first are the floats that `score_mod` captured."""

    floats: tuple[Array, ...]
    q: Float[Array, "b t h d"]
    k: Float[Array, "b s g d"]
    v: Float[Array, "b s g e"]


class Fixed(NamedTuple):
    """What has none: all else that `score_mod` and `mask` captured, and the offsets."""

    score_mod: tuple[Array, ...]
    mask: tuple[tuple[Array, ...], tuple[Array, ...]]
    offsets: Int[Array, "2"]


class Refs(NamedTuple):
    """What a kernel reads: arrays outside of it, references inside.

    Attributes:
      bad_q, bad_k: what to add to the scores of each query and key: 0, or NaN.
      order, counts: blocks to visit; how many of them have hidden pairs, and how many are all.
      lse, shift, ct: for the backward pass; `shift` is what the softmax takes off each slope.
    """

    offsets: Any
    q: Any
    k: Any
    v: Any
    bad_q: Any
    bad_k: Any
    score_mod: tuple[Any, ...]
    mask: tuple[Any, ...]
    order: Any = None
    counts: Any = None
    lse: Any = None
    shift: Any = None
    ct: Any = None


class Kernel(NamedTuple):
    """A request as a kernel sees it."""

    static: Static
    score_mod: Program | None
    mask: Program | None

    def forward(self, refs: Refs, out_ref: Any, lse_ref: Any) -> None:
        """One block of queries over its blocks of keys."""
        (_, _, r, t, s), (d, e), (block_q, block_k) = self.static[:3]
        b, h, line = pl.program_id(2), pl.program_id(1), pl.program_id(0)
        group = lax.div(h, jnp.int32(r))
        rows = line * block_q + jnp.arange(block_q, dtype=jnp.int32)
        q = _rows(refs.q, b, rows, h, t, d)

        def look(masked: bool, block: Array, state: Any) -> Any:
            out, high, total = state
            keys = block * block_k + jnp.arange(block_k, dtype=jnp.int32)
            k, v = _rows(refs.k, b, keys, group, s, d), _rows(refs.v, b, keys, group, s, e)
            x, _, _ = self.pairs(refs, (b, h, rows, keys), q, k, masked)
            new = jnp.maximum(high, x.max(1))
            p, shrink = jnp.exp2((x - new[:, None]) * LOG2_E), jnp.exp2((high - new) * LOG2_E)
            out = out * shrink[:, None] + _dot(p.astype(v.dtype), v, (1, 0))
            return out, new, total * shrink + p.sum(1)

        start = (
            jnp.zeros((block_q, _power(e)), jnp.float32),
            jnp.full((block_q,), online.lowest(jnp.float32), jnp.float32),
            jnp.zeros((block_q,), jnp.float32),
        )
        out, high, total = self.loop(refs, self.chunk(b, group), line, look, start)
        some = jnp.where(total == 0, 1.0, total)
        _store(out_ref, b, rows, h, t, e, out / some[:, None])
        lse = jnp.where(total == 0, -jnp.inf, high + jnp.log(some))
        triton.store(lse_ref.at[b, h, rows], lse, mask=rows < t)

    def backward_query(self, refs: Refs, dq_ref: Any) -> None:
        """The cotangent of one block of queries, over its blocks of keys."""
        (_, _, r, t, s), (d, e), (block_q, block_k) = self.static[:3]
        b, h, line = pl.program_id(2), pl.program_id(1), pl.program_id(0)
        group = lax.div(h, jnp.int32(r))
        rows = line * block_q + jnp.arange(block_q, dtype=jnp.int32)
        own = self.read_rows(refs, b, h, rows)

        def look(masked: bool, block: Array, dq: Array) -> Array:
            keys = block * block_k + jnp.arange(block_k, dtype=jnp.int32)
            k, v = _rows(refs.k, b, keys, group, s, d), _rows(refs.v, b, keys, group, s, e)
            _, slope = self.slopes(refs, (b, h, rows, keys), own, k, v, masked)
            return dq + _dot(slope.astype(k.dtype), k, (1, 0))

        start = jnp.zeros((block_q, _power(d)), jnp.float32)
        dq = self.loop(refs, self.chunk(b, group), line, look, start)
        _store(dq_ref, b, rows, h, t, d, dq)

    def backward_key(self, refs: Refs, dk_ref: Any, dv_ref: Any) -> None:
        """The cotangents of one block of keys, over its queries of all heads of the group."""
        (_, _, r, _, s), (d, e), (block_q, block_k) = self.static[:3]
        b, g, line = pl.program_id(2), pl.program_id(1), pl.program_id(0)
        keys = line * block_k + jnp.arange(block_k, dtype=jnp.int32)
        k, v = _rows(refs.k, b, keys, g, s, d), _rows(refs.v, b, keys, g, s, e)

        def head(n: Array, sums: Any) -> Any:
            def look(masked: bool, block: Array, sums: Any) -> Any:
                rows = block * block_q + jnp.arange(block_q, dtype=jnp.int32)
                own = q, _, _, ct = self.read_rows(refs, b, g * r + n, rows)
                p, slope = self.slopes(refs, (b, g * r + n, rows, keys), own, k, v, masked)
                dk = sums[0] + _dot(slope.astype(q.dtype), q, (0, 0))
                return dk, sums[1] + _dot(p.astype(ct.dtype), ct, (0, 0))

            return self.loop(refs, self.chunk(b, g), line, look, sums)

        start = tuple(jnp.zeros((block_k, _power(width)), jnp.float32) for width in (d, e))
        dk, dv = lax.fori_loop(0, r, head, start) if r > 1 else head(jnp.int32(0), start)
        _store(dk_ref, b, keys, g, s, d, dk)
        _store(dv_ref, b, keys, g, s, e, dv)

    def chunk(self, b: Array, g: Array) -> Array:
        """Which of the block lists serves a sequence and a key head."""
        return b * self.static.shape.g + g if self.static.tiling.counts[0] > 1 else jnp.int32(0)

    def loop(self, refs: Refs, chunk: Array, line: Array, look: Callable, state: Any) -> Any:
        """`look(masked, block, state) -> state` for every block that is not empty."""
        masked, both = refs.counts[chunk, line, 0], refs.counts[chunk, line, 1]
        tiling = self.static.tiling
        if len(tiling.partial):
            step = lambda n, x: look(True, refs.order[chunk, line, n], x)  # noqa: E731
            state = lax.fori_loop(jnp.int32(0), masked, step, state)
        if len(tiling.full):
            step = lambda n, x: look(False, refs.order[chunk, line, n], x)  # noqa: E731
            state = lax.fori_loop(masked, both, step, state)
        return state

    def pairs(
        self, refs: Refs, at: tuple[Array, ...], q: Array, k: Array, masked: bool
    ) -> tuple[Array, Array | None, Array | None]:
        """Scores of a tile, -inf where hidden; their slopes, and what is visible."""
        (_, _, _, t, s), (b, h, rows, keys) = self.static.shape, at
        x, slope, visible = _dot(q, k, (1, 1)) * self.static.scale, None, None
        # Padding repeats the last position, where the user's functions are surely defined.
        i = (refs.offsets[0] + jnp.minimum(rows, t - 1))[:, None]
        j = (refs.offsets[1] + jnp.minimum(keys, s - 1))[None, :]
        if self.score_mod is not None:
            pair = Machine(_reader(refs.score_mod)).run(self.score_mod, x, b, h, i, j)
            x, slope = (jnp.broadcast_to(y, x.shape) for y in pair)
        bad_q = triton.load(refs.bad_q.at[b, h, rows], mask=rows < t, other=0.0)
        group = lax.div(h, jnp.int32(self.static.shape.r))
        bad_k = triton.load(refs.bad_k.at[b, group, keys], mask=keys < s, other=0.0)
        x = x + bad_q[:, None] + bad_k[None, :]
        if masked:
            visible = (rows < t)[:, None] & (keys < s)[None, :]
            if self.mask is not None:
                (seen,) = Machine(_reader(refs.mask)).run(self.mask, b, h, i, j)
                visible = visible & seen
            x = jnp.where(visible, x, -jnp.inf)
        return x, slope, visible

    def slopes(
        self,
        refs: Refs,
        at: tuple[Array, ...],
        own: tuple[Array, ...],
        k: Array,
        v: Array,
        masked: bool,
    ) -> tuple[Array, Array]:
        """Weights of a tile, and the cotangents of its products of queries and keys."""
        q, lse, shift, ct = own
        x, slope, visible = self.pairs(refs, at, q, k, masked)
        p = jnp.exp2((x - lse[:, None]) * LOG2_E)
        change = p * (_dot(ct, v, (1, 1)) - shift[:, None])
        change = (change if slope is None else change * slope) * self.static.scale
        if visible is None:
            return p, change
        # Not by a factor of 0: rows that are NaN must not reach keys that they do not see.
        return jnp.where(visible, p, 0.0), jnp.where(visible, change, 0.0)

    def read_rows(self, refs: Refs, b: Array, h: Array, rows: Array) -> tuple[Array, ...]:
        t, (d, e) = self.static.shape.t, self.static.widths
        lse, shift = (
            triton.load(x.at[b, h, rows], mask=rows < t, other=0.0) for x in (refs.lse, refs.shift)
        )
        return _rows(refs.q, b, rows, h, t, d), lse, shift, _rows(refs.ct, b, rows, h, t, e)


def _power(width: int) -> int:
    return max(LEAST, pl.next_power_of_2(width))


def _dot(x: Array, y: Array, axes: tuple[int, int]) -> Array:
    numbers = (((axes[0],), (axes[1],)), ((), ()))
    return lax.dot_general(x, y, numbers, preferred_element_type=jnp.float32)


def _within(n: Array, length: int, width: int) -> tuple[Array, Array]:
    """Columns of a tile of vectors, and what of it lies in the array: a tile is a power of 2."""
    columns = jnp.arange(_power(width), dtype=jnp.int32)[None, :]
    return columns, (n < length)[:, None] & (columns < width)


def _rows(ref: Any, b: Array, n: Array, h: Array, length: int, width: int) -> Array:
    """Vectors `n` of `[b n h d]`; zeros beyond its end."""
    columns, inside = _within(n, length, width)
    return triton.load(ref.at[b, n[:, None], h, columns], mask=inside, other=0.0)


def _store(ref: Any, b: Array, n: Array, h: Array, length: int, width: int, x: Array) -> None:
    columns, inside = _within(n, length, width)
    triton.store(ref.at[b, n[:, None], h, columns], x.astype(ref.dtype), mask=inside)


def _reader(refs: tuple[Any, ...]) -> Callable[..., Array]:
    def read(number: int, place: Array, inside: Array | None, fill: Any) -> Array:
        ref = refs[number].at[place]
        return triton.load(ref, mask=inside, other=None if inside is None else fill)

    return read


def _programs(static: Static, arrays: Arrays, fixed: Fixed) -> tuple[Kernel, Refs]:
    """The kernel with the user's functions, and what it reads but the block lists."""
    at = (jax.ShapeDtypeStruct((), jnp.int32),) * 4
    score_mod = mask = None
    operands: list[tuple[Array, ...]] = [(), ()]
    if static.score_mod is not None:
        change = partial(static.score_mod.function, arrays.floats, fixed.score_mod)
        score = jax.ShapeDtypeStruct((), jnp.float32)
        score_mod, operands[0] = program(_with_slope(change), score, *at)
    if static.mask is not None:
        mask, operands[1] = program(partial(static.mask.function, *fixed.mask), *at)
    (q, bad_q), (k, bad_k), (v, bad_v) = (_clean(x) for x in arrays[1:])
    refs = Refs(fixed.offsets, q, k, v, bad_q, bad_k + bad_v, *operands)
    return Kernel(static, score_mod, mask), refs


def _with_slope(score_mod: Callable[..., Array]) -> Callable[..., tuple[Array, Array]]:
    def both(score: Array, *at: Array) -> tuple[Array, Array]:
        change = lambda x: score_mod(x, *at).astype(x.dtype)  # noqa: E731
        return jax.jvp(change, (score,), (jnp.ones_like(score),))

    return both


def _clean(x: Float[Array, "b n h d"]) -> tuple[Array, Float[Array, "b h n"]]:
    """A finite copy, and NaN for each vector that was not finite."""
    good = jnp.isfinite(x)
    bad = jnp.where(good.all(-1), jnp.float32(0), jnp.float32(jnp.nan))
    return jnp.where(good, x, jnp.zeros_like(x)), bad.transpose(0, 2, 1)


def _lists(tiling: BlockMap, *, by_keys: bool) -> dict[str, np.ndarray]:
    """For each block of queries its blocks of keys, or the other way round: masked ones first."""
    kinds = np.zeros(tiling.counts, np.uint8)
    for kind, places in ((2, tiling.partial), (1, tiling.full)):
        kinds[tuple(places.T)] = kind
    kinds = kinds.swapaxes(1, 2) if by_keys else kinds
    counts = np.stack([(kinds == 2).sum(-1), (kinds > 0).sum(-1)], -1).astype(np.int32)
    order = np.argsort(2 - kinds, axis=-1, kind="stable").astype(np.int32)
    return dict(order=order[..., : max(counts.max(initial=1), 1)], counts=counts)


def _call(static: Static, body: Callable, refs: Refs, outputs: list[Any], *, by_keys: bool) -> Any:
    """Runs a kernel for every block of queries or of keys, with outputs like those given."""
    (b, g, r, _, _), (_, blocks_q, blocks_k) = static.shape, static.tiling.counts
    return pl.pallas_call(
        body,
        grid=(blocks_k, g, b) if by_keys else (blocks_q, g * r, b),
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in outputs],
        compiler_params=triton.CompilerParams(
            num_warps=4 if max(static.widths) <= 64 else 8, num_stages=2
        ),
        interpret=static.interpret,
        name=body.__name__,
    )(refs._replace(**_lists(static.tiling, by_keys=by_keys)))


def _rule(static: Static) -> Callable[[Arrays, Fixed], tuple[Array, Array]]:
    """`(arrays, fixed) -> (out, lse)` with its derivatives."""
    exact = static.exact

    @jax.custom_jvp
    def attend(arrays: Arrays, fixed: Fixed) -> tuple[Array, Array]:
        kernel, refs = _programs(static, arrays, fixed)
        (b, g, r, t, _), e = static.shape, static.widths[1]
        out = jax.ShapeDtypeStruct((b, t, g * r, e), arrays.q.dtype)
        out, lse = _call(static, kernel.forward, refs, [out, refs.bad_q], by_keys=False)
        return out, lse.transpose(0, 2, 1)

    @jax.custom_jvp
    def backward(arrays: Arrays, fixed: Fixed, results: Any, cts: Any) -> tuple[Array, ...]:
        kernel, refs = _programs(static, arrays, fixed)
        (out, lse), (ct, ct_lse) = results, cts
        shift = (out.astype(jnp.float32) * ct.astype(jnp.float32)).sum(-1) - ct_lse
        lse = jnp.where(lse == -jnp.inf, 0.0, lse)
        shift, lse = shift.transpose(0, 2, 1), lse.transpose(0, 2, 1)
        refs = refs._replace(ct=ct, lse=lse, shift=shift)
        dq = _call(static, kernel.backward_query, refs, [refs.q], by_keys=False)
        return *dq, *_call(static, kernel.backward_key, refs, [refs.k, refs.v], by_keys=True)

    def exact_backward(arrays: Arrays, fixed: Fixed, cts: Any) -> Arrays:
        return jax.vjp(lambda arrays: exact(arrays, fixed), arrays)[1](cts)[0]

    @backward.defjvp
    def backward_jvp(primals: Any, tangents: Any) -> Any:
        (arrays, fixed, _, cts), (d_arrays, _, _, d_cts) = primals, tangents
        again = lambda arrays, cts: tuple(exact_backward(arrays, fixed, cts)[1:])  # noqa: E731
        _, moved = jax.jvp(again, (arrays, cts), (d_arrays, d_cts))
        return backward(*primals), moved

    def tangent(given: Any, moved: Arrays) -> Any:
        arrays, fixed, _ = given
        return jax.jvp(lambda arrays: exact(arrays, fixed), (arrays,), (moved,))[1]

    def transposed(needed: tuple[bool, ...], given: Any, cts: Any) -> Arrays:
        arrays, fixed, results = given
        if any(needed[:-3]):
            return exact_backward(arrays, fixed, cts)
        return Arrays((None,) * len(arrays.floats), *backward(arrays, fixed, results, cts))

    @attend.defjvp
    def attend_jvp(primals: Any, tangents: Any) -> Any:
        results = attend(*primals)
        return results, linear.apply(tangent, transposed, (*primals, results), tangents[0])

    return attend


def pallas(
    query: Float[Array, "b t h d"],
    key: Float[Array, "b s g d"],
    value: Float[Array, "b s g e"],
    *,
    scale: float,
    score_mod: ScoreMod | None,
    mask: MaskFunction | None,
    query_offset: Offset,
    key_offset: Offset,
    return_lse: bool,
    interpret: bool = False,
    block_sizes: tuple[int, int] | None = None,
) -> Float[Array, "b t h e"] | tuple[Float[Array, "b t h e"], Float[Array, "b t h"]]:
    """Computes what `attention_jax.attention` promises, for the softmax of `scale * q . k`.

    Args:
      interpret: runs the kernels on any device, slowly, to test them.
      block_sizes: queries and keys in a block, powers of 2 from 16; None for a choice by width.

    Reference: Dao 2023, arXiv:2307.08691, algorithms 1 and 2.
    """
    (b, t, h, d), (_, s, g, e) = query.shape, value.shape
    if not (b and t and h and s):
        out, lse = jnp.zeros((b, t, h, e), query.dtype), jnp.full((b, t, h), -jnp.inf, jnp.float32)
        return (out, lse) if return_lse else out
    at, offsets = (jax.ShapeDtypeStruct((), jnp.int32),) * 4, (query_offset, key_offset)
    shape, sizes = Shape(b, g, h // g, t, s), block_sizes or choose_sizes(query, key, value)
    wide = jax.ShapeDtypeStruct((), jnp.float32)
    change = None if score_mod is None else tracing.hoist(score_mod, wide, *at)
    show = None if mask is None else tracing.hoist(mask, *at)

    def exact(arrays: Arrays, fixed: Fixed) -> tuple[Array, Array]:
        known = mask is None or blocks.is_known(mask, offsets)
        starts = offsets if known else tuple(fixed.offsets)
        out, lse = blockwise.attention(
            *(x.astype(jnp.float32) for x in arrays[1:]),
            score=lambda q, k: (q * scale) @ k,
            score_mod=change and partial(change.function, arrays.floats, fixed.score_mod),
            mask=mask if known else partial(show.function, *fixed.mask),
            normalizer=normalizers.softmax,
            dropout_rate=0.0,
            dropout_key=None,
            query_offset=starts[0],
            key_offset=starts[1],
            return_lse=True,
        )
        return out.astype(query.dtype), lse

    tiling = _tiling(shape, mask, offsets, sizes)
    static = Static(shape, (d, e), sizes, scale, change, show, tiling, exact, interpret)
    fixed = Fixed(
        change.others if change else (),
        (show.floats, show.others) if show else ((), ()),
        jnp.stack([jnp.asarray(x, jnp.int32) for x in offsets]),
    )
    floats = change.floats if change else ()
    out, lse = _rule(static)(Arrays(floats, query, key, value), fixed)
    return (out, lse) if return_lse else out


def choose_sizes(query: Array, key: Array, value: Array) -> tuple[int, int]:
    """Queries and keys in a block: what fits the 99 KiB that the smaller GPUs give to one."""
    size = query.dtype.itemsize
    wide = max(_power(key.shape[-1]), _power(value.shape[-1])) * size
    most = 64 if wide <= 256 else 32 if wide <= 512 else 16
    sizes = most, max(most * 2 // size, LEAST)
    return tuple(min(n, _power(x.shape[1])) for n, x in zip(sizes, (query, key), strict=True))


def _tiling(
    shape: Shape, mask: MaskFunction | None, offsets: tuple[Any, Any], sizes: tuple[int, int]
) -> BlockMap:
    """The blocks to visit: one list for all heads, where no known mask tells them apart."""
    parts = masks.conjuncts(mask)
    known = (x for x in parts if blocks.is_known(x, offsets))
    apart = any(any(tracing.depends_on(x)[:2]) for x in known)
    return blocks.block_map(parts, shape, Sizes(1 if apart else shape.b * shape.g, *sizes), offsets)


def pallas_refusal(
    query: Array,
    key: Array,
    value: Array,
    *,
    score_mod: ScoreMod | None,
    mask: MaskFunction | None,
    normalizer_is_softmax: bool,
    dropout_rate: float,
    platform: str,
    block_sizes: tuple[int, int] | None = None,
) -> str | None:
    """Why `pallas` cannot honour a request; None where it can.

    Args:
      platform: as `jax.default_backend()` names it; "interpret" for any.
    """
    dtypes = {str(x.dtype) for x in (query, key, value)}
    widest = max(key.shape[-1], value.shape[-1])
    if platform not in ("gpu", "cuda", "rocm", "interpret"):
        return f"The kernels read memory as a GPU does; this is a {platform}."
    if len(dtypes) > 1 or dtypes.isdisjoint(("float32", "bfloat16", "float16")):
        return (
            "`query`, `key` and `value` must be all float32, bfloat16 or float16; "
            f"got {', '.join(sorted(dtypes))}."
        )
    if widest > WIDEST:
        return f"Keys and values must be at most {WIDEST} wide, to fit a core; got {widest}."
    if not normalizer_is_softmax:
        return "`normalizer` must be the softmax."
    if dropout_rate:
        return f"`dropout_rate` must be 0; got {dropout_rate}."
    if block_sizes and any(n < LEAST or n & (n - 1) for n in block_sizes):
        return f"`block_sizes` must be powers of 2 from {LEAST}; got {block_sizes}."
    score, at = jax.ShapeDtypeStruct((), jnp.float32), (jax.ShapeDtypeStruct((), jnp.int32),) * 4
    functions = (
        ("score_mod", score_mod and _with_slope(score_mod), (score, *at)),
        ("mask", mask, at),
    )
    for name, function, examples in functions:
        reason = None if function is None else _reason(function, examples)
        if reason:
            return f"`{name}` {reason}."
    return None


def _reason(function: Callable[..., Any], examples: tuple[Any, ...]) -> str | None:
    """What of a function cannot run on tiles."""

    def run(*arguments: Array) -> list[Array]:
        steps, operands = program(function, *arguments)
        dtypes = [x.dtype for x in operands]
        read = lambda number, place, *_: jnp.zeros(place.shape, dtypes[number])  # noqa: E731
        return Machine(read).run(steps, *arguments)

    try:
        jax.eval_shape(run, *examples)
    except Refused as error:
        return str(error)
    return None


def cudnn_refusal(
    query: Array,
    key: Array,
    value: Array,
    *,
    score_mod: ScoreMod | None,
    mask: MaskFunction | None,
    normalizer_is_softmax: bool,
    dropout_rate: float,
    query_offset: Offset,
    key_offset: Offset,
    return_lse: bool,
    platform: str,
) -> str | None:
    """Why `cudnn` cannot honour a request; None where it can."""
    (_, t, _, d), (_, s, _, e) = query.shape, value.shape
    dtypes = {str(x.dtype) for x in (query, key, value)}
    known = all(isinstance(x, int) for x in (query_offset, key_offset))
    if platform not in ("gpu", "cuda"):
        return f"cuDNN needs a GPU of NVIDIA; this is a {platform}."
    if len(dtypes) > 1 or dtypes.isdisjoint(("bfloat16", "float16")):
        return (
            "`query`, `key` and `value` must be all bfloat16 or float16 for cuDNN; "
            f"got {', '.join(sorted(dtypes))}."
        )
    if d != e or d % 8 or not 0 < d <= CUDNN_WIDEST:
        return (
            "Keys and values must be of one width for cuDNN, a multiple of 8 up to "
            f"{CUDNN_WIDEST}; got {d} and {e}."
        )
    if not all((*query.shape, s)):
        return f"cuDNN takes no empty arrays; got {query.shape} and {key.shape}."
    if not normalizer_is_softmax:
        return "`normalizer` must be the softmax for cuDNN."
    if score_mod is not None:
        return "`score_mod` must be None for cuDNN."
    if dropout_rate:
        return f"`dropout_rate` must be 0 for cuDNN; got {dropout_rate}."
    if return_lse:
        return "`return_lse` must be False for cuDNN, whose sums JAX rounds to the query's dtype."
    if mask is not None and mask is not masks.causal:
        return "`mask` must be None or `masks.causal` for cuDNN."
    if mask is not None and not (t == s and known and query_offset == key_offset):
        return (
            "With `masks.causal`, cuDNN needs as many queries as keys, which begin at the same "
            f"known position; got {t} and {s}, at {query_offset} and {key_offset}."
        )
    return None


def cudnn(
    query: Float[Array, "b t h d"],
    key: Float[Array, "b s g d"],
    value: Float[Array, "b s g d"],
    *,
    scale: float,
    causal: bool,
) -> Float[Array, "b t h d"]:
    """The softmax of `scale * q . k` by cuDNN.

    Equal to the definition for finite arrays. Under `causal`, a number that is not finite may also
    reach queries that do not see it: within a block cuDNN multiplies what is hidden by 0, and
    0 * NaN is NaN. First derivatives only, in reverse mode only.
    """
    return jax.nn.dot_product_attention(
        query, key, value, scale=scale, is_causal=causal, implementation="cudnn"
    )


def attention(
    query: Array, key: Array, value: Array, *, implementation: str, score: Score, **request: Any
) -> Any:
    """`pallas` or `cudnn` with the arguments of `attention_jax.attention`, if `refusal` is None."""
    scale = _scale(score, query)
    if implementation == "cudnn":
        return cudnn(query, key, value, scale=scale, causal=request["mask"] is not None)
    names = "score_mod", "mask", "query_offset", "key_offset", "return_lse"
    return pallas(query, key, value, scale=scale, **{name: request[name] for name in names})


def refusal(
    implementation: str, query: Array, key: Array, value: Array, *, score: Score, **request: Any
) -> str | None:
    """Why `attention` cannot honour a request on this device; None where it can."""
    if _scale(score, query) is None:
        return "`score` must be `scores.scaled_dot` or `scores.dot`; `score_mod` may change it."
    names = ["score_mod", "mask", "dropout_rate"]
    asked = dict(
        normalizer_is_softmax=request["normalizer"] is normalizers.softmax,
        platform=jax.default_backend(),
    )
    if implementation == "pallas":
        refuse: Callable[..., str | None] = pallas_refusal
    else:
        refuse, names = cudnn_refusal, [*names, "query_offset", "key_offset", "return_lse"]
    return refuse(query, key, value, **asked, **{name: request[name] for name in names})


def _scale(score: Score, query: Array) -> float | None:
    """What a score multiplies the dot product by; None where it is something else."""
    if score is scores.scaled_dot:
        return query.shape[-1] ** -0.5
    return 1.0 if score is scores.dot else None
