"""Pallas kernels for a GPU: softmax attention block by block, forward and backward.

A kernel takes one block of queries over its blocks of keys, or the other way round, and skips the
blocks that the mask empties. It holds the user's functions, as `engine.pallas_lowering` runs them.
Vectors are read as they lie: that one is not finite shows in its products, and only tiles with
hidden pairs put zeros in its place.

The backward pass takes 7 products a tile, not 5, since queries and keys have a kernel each, as in
FlexAttention's: the 5 of one kernel need atomic sums, whose rounding differs from run to run.

Reference: Dao 2023, arXiv:2307.08691, algorithms 1 and 2.
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float, Int, PyTree

from attention_jax.core import online_normalizers
from attention_jax.core.jaxprs import Hoisted
from attention_jax.engine.block_map import BlockMap, Shape
from attention_jax.engine.pallas_blocks import lists, power, visits
from attention_jax.engine.pallas_lowering import Machine, Program, program, with_slope

# exp(x) = exp2(x log2(e)): a GPU has an instruction for the latter.
LOG2_E, LN_2 = math.log2(math.e), math.log(2)


class KernelConfig(NamedTuple):
    """Static configuration.

    Attributes:
      widths, sizes: of keys and values; of a block of queries and of keys.
      score_mod, mask: without captured arrays.
      parts: programs that share the blocks of keys of one block of queries, forward.
      exact: `(arrays, constants) -> (out, lse)` by `engine.blockwise`.
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
    parts: int = 1


class Differentiable(NamedTuple):
    """Arrays with a derivative; the first are the floats that `score_mod` captured."""

    floats: tuple[Array, ...]
    q: Float[Array, "b t h d"]
    k: Float[Array, "b s g d"]
    v: Float[Array, "b s g e"]


class Constants(NamedTuple):
    """Arrays without: all else that `score_mod` and `mask` captured, and the offsets."""

    score_mod: tuple[Array, ...]
    mask: tuple[tuple[Array, ...], tuple[Array, ...]]
    offsets: Int[Array, "2"]


# An array outside of a kernel; inside, a reference to it.
Ref = Any


class Refs(NamedTuple):
    """Inputs of a kernel: arrays outside of it, references inside.

    Attributes:
      partial, full: blocks to visit, of those with hidden pairs and of the others; see
        `pallas_blocks.listed`.
      lse, shift, ct: for the backward pass; `lse` is of base 2, and `shift` is what the softmax
        takes off each slope.
    """

    offsets: Ref
    q: Ref
    k: Ref
    v: Ref
    score_mod: tuple[Ref, ...]
    mask: tuple[Ref, ...]
    partial: Ref = None
    full: Ref = None
    lse: Ref = None
    shift: Ref = None
    ct: Ref = None


class Kernel(NamedTuple):
    """The kernels of a request, and the user's functions in them."""

    config: KernelConfig
    score_mod: Program | None
    mask: Program | None

    def forward(self, refs: Refs, out_ref: Ref, lse_ref: Ref) -> None:
        """One block of queries over its blocks of keys."""
        (_, _, r, t, s), (d, e), (block_q, block_k) = self.config[:3]
        b, h, line, part = pl.program_id(2), pl.program_id(1), pl.program_id(0), None
        if self.config.parts > 1:
            line, part = jnp.int32(0), line
        group = lax.div(h, jnp.int32(r))
        rows = line * block_q + jnp.arange(block_q, dtype=jnp.int32)
        q = _rows(refs.q, b, rows, h, t, d)

        def look(masked: bool, block: Array, state: PyTree) -> PyTree:
            out, high, total = state
            keys = block * block_k + jnp.arange(block_k, dtype=jnp.int32)
            k = _rows(refs.k, b, keys, group, s, d, masked)
            v = _rows(refs.v, b, keys, group, s, e, masked)
            x, _, visible = self.pairs(refs, (b, h, rows, keys), q, k, masked)
            if visible is not None:
                v, bad = _cleaned(v)
                x = jnp.where(visible & bad[None, :], jnp.nan, x)
            new = jnp.maximum(high, x.max(1))
            p, shrink = jnp.exp2(x - new[:, None]), jnp.exp2(high - new)
            out = out * shrink[:, None] + _dot(p.astype(v.dtype), v, (1, 0))
            return out, new, total * shrink + p.sum(1)

        start = (
            jnp.zeros((block_q, power(e)), jnp.float32),
            jnp.full((block_q,), online_normalizers.lowest(jnp.float32), jnp.float32),
            jnp.zeros((block_q,), jnp.float32),
        )
        state = self.loop(refs, self.chunk(b, group), line, look, start, part)
        to = b if part is None else part * self.config.shape.b + b
        self.store(out_ref, lse_ref, (to, h, rows), state)

    def store(self, out_ref: Ref, lse_ref: Ref, at: tuple[Array, ...], state: PyTree) -> None:
        """The output and the log-sum-exp of a block of queries."""
        (to, h, rows), (out, high, total), t = at, state, self.config.shape.t
        some = jnp.where(total == 0, 1.0, total)
        out = out / some[:, None]
        # A visible value that is not finite makes NaN of its whole row.
        good = jnp.where(_finite(out), 0.0, 1.0).max(1) == 0
        out = jnp.where(good[:, None], out, jnp.nan)
        _store(out_ref, to, rows, h, t, self.config.widths[1], out)
        lse = jnp.where(total == 0, -jnp.inf, high * LN_2 + jnp.log(some))
        inside = rows < t if t % rows.size else None
        triton.store(lse_ref.at[to, h, rows], jnp.where(good, lse, jnp.nan), mask=inside)

    def backward_query(self, refs: Refs, dq_ref: Ref) -> None:
        """The cotangent of one block of queries, over its blocks of keys."""
        (_, _, r, t, s), (d, e), (block_q, block_k) = self.config[:3]
        b, h, line = pl.program_id(2), pl.program_id(1), pl.program_id(0)
        group = lax.div(h, jnp.int32(r))
        rows = line * block_q + jnp.arange(block_q, dtype=jnp.int32)
        own = self.read_rows(refs, b, h, rows)

        def look(masked: bool, block: Array, dq: Array) -> Array:
            keys = block * block_k + jnp.arange(block_k, dtype=jnp.int32)
            k = _rows(refs.k, b, keys, group, s, d, masked)
            v = _rows(refs.v, b, keys, group, s, e, masked)
            _, slope = self.slopes(refs, (b, h, rows, keys), own, k, v, masked)
            k = _cleaned(k)[0] if masked else k
            return dq + _dot(slope.astype(k.dtype), k, (1, 0))

        start = jnp.zeros((block_q, power(d)), jnp.float32)
        dq = self.loop(refs, self.chunk(b, group), line, look, start)
        _store(dq_ref, b, rows, h, t, d, dq * self.config.scale)

    def backward_key(self, refs: Refs, dk_ref: Ref, dv_ref: Ref) -> None:
        """The cotangents of one block of keys, over its queries of all heads of the group."""
        (_, _, r, _, s), (d, e), (block_q, block_k) = self.config[:3]
        b, g, line = pl.program_id(2), pl.program_id(1), pl.program_id(0)
        keys = line * block_k + jnp.arange(block_k, dtype=jnp.int32)
        k, v = _rows(refs.k, b, keys, g, s, d), _rows(refs.v, b, keys, g, s, e)

        def head(n: Array, sums: PyTree) -> PyTree:
            def look(masked: bool, block: Array, sums: PyTree) -> PyTree:
                rows = block * block_q + jnp.arange(block_q, dtype=jnp.int32)
                own = q, _, _, ct = self.read_rows(refs, b, g * r + n, rows, masked)
                p, slope = self.slopes(refs, (b, g * r + n, rows, keys), own, k, v, masked)
                q = _cleaned(q)[0] if masked else q
                dk = sums[0] + _dot(slope.astype(q.dtype), q, (0, 0))
                return dk, sums[1] + _dot(p.astype(ct.dtype), ct, (0, 0))

            return self.loop(refs, self.chunk(b, g), line, look, sums)

        start = tuple(jnp.zeros((block_k, power(width)), jnp.float32) for width in (d, e))
        dk, dv = lax.fori_loop(0, r, head, start) if r > 1 else head(jnp.int32(0), start)
        _store(dk_ref, b, keys, g, s, d, dk * self.config.scale)
        _store(dv_ref, b, keys, g, s, e, dv)

    def chunk(self, b: Array, g: Array) -> Array:
        """The number of the block list of a sequence and a key head."""
        return b * self.config.shape.g + g if self.config.tiling.counts[0] > 1 else jnp.int32(0)

    def loop(
        self,
        refs: Refs,
        chunk: Array,
        line: Array,
        look: Callable,
        state: PyTree,
        part: Array | None = None,
    ) -> PyTree:
        """`look(masked, block, state) -> state` for every block that is not empty.

        Args:
          part: takes this part of the blocks alone.
        """
        for blocks, masked in ((refs.partial, True), (refs.full, False)):
            if blocks is None:
                continue
            first, last, block = visits(blocks, chunk, line)
            if part is not None:
                share = lax.div(last - first + self.config.parts - 1, jnp.int32(self.config.parts))
                first = first + part * share
                last = jnp.minimum(first + share, last)
            step = lambda n, x, block=block, masked=masked: look(masked, block(n), x)  # noqa: E731
            state = lax.fori_loop(first, last, step, state)
        return state

    def pairs(
        self, refs: Refs, at: tuple[Array, ...], q: Array, k: Array, masked: bool
    ) -> tuple[Array, Array | None, Array | None]:
        """Scores of a tile times log2(e), -inf where hidden; their slopes, and the visible pairs.

        A visible score is NaN where its query or its key is not finite. Slopes are None where they
        are 1, and the visible pairs where they are all.
        """
        (_, _, _, t, s), (b, h, rows, keys) = self.config.shape, at
        dots, slope, scale = _dot(q, k, (1, 1)), None, self.config.scale
        # Padding repeats the last position, where the user's functions are surely defined.
        i = (refs.offsets[0] + jnp.minimum(rows, t - 1))[:, None]
        j = (refs.offsets[1] + jnp.minimum(keys, s - 1))[None, :]
        if self.score_mod is None:
            x = dots * (scale * LOG2_E)
        else:
            pair = Machine(_reader(refs.score_mod)).run(self.score_mod, dots * scale, b, h, i, j)
            x, slope = (jnp.broadcast_to(y, dots.shape) for y in pair)
            x = x * LOG2_E
        x = jnp.where(_finite(dots), x, jnp.nan)
        visible = self.visible(refs, (b, h, rows, keys), i, j) if masked else None
        return x if visible is None else jnp.where(visible, x, -jnp.inf), slope, visible

    def visible(self, refs: Refs, at: tuple[Array, ...], i: Array, j: Array) -> Array | None:
        """The visible pairs of a tile; None where they are all."""
        (_, _, _, t, s), (b, h, rows, keys) = self.config.shape, at
        parts = []
        if t % rows.size:
            parts.append((rows < t)[:, None])
        if s % keys.size:
            parts.append((keys < s)[None, :])
        if self.mask is not None:
            parts += Machine(_reader(refs.mask)).run(self.mask, b, h, i, j)
        return jnp.broadcast_to(_all(parts), (rows.size, keys.size)) if parts else None

    def slopes(
        self,
        refs: Refs,
        at: tuple[Array, ...],
        own: tuple[Array, ...],
        k: Array,
        v: Array,
        masked: bool,
    ) -> tuple[Array, Array]:
        """Weights of a tile, and the cotangents of its scaled products of queries and keys."""
        q, lse, shift, ct = own
        x, slope, visible = self.pairs(refs, at, q, k, masked)
        p = jnp.exp2(x - lse[:, None])
        change = p * (_dot(ct, v, (1, 1)) - shift[:, None])
        change = change if slope is None else change * slope
        if visible is None:
            return p, change
        # Not by a factor of 0: rows that are NaN must not reach keys that they do not see.
        return jnp.where(visible, p, 0.0), jnp.where(visible, change, 0.0)

    def read_rows(
        self, refs: Refs, b: Array, h: Array, rows: Array, masked: bool = True
    ) -> tuple[Array, ...]:
        t, (d, e) = self.config.shape.t, self.config.widths
        inside = rows < t if masked and t % rows.size else None
        other = None if inside is None else 0.0
        lse, shift = (
            triton.load(x.at[b, h, rows], mask=inside, other=other) for x in (refs.lse, refs.shift)
        )
        q = _rows(refs.q, b, rows, h, t, d, masked)
        return q, lse, shift, _rows(refs.ct, b, rows, h, t, e, masked)


def _dot(x: Array, y: Array, axes: tuple[int, int]) -> Array:
    numbers = (((axes[0],), (axes[1],)), ((), ()))
    return lax.dot_general(x, y, numbers, preferred_element_type=jnp.float32)


def _all(parts: Sequence[Array]) -> Array:
    return functools.reduce(operator.and_, parts)


def _finite(x: Array) -> Array:
    """`jnp.isfinite`, of which the back end knows no form."""
    return jnp.abs(x) < jnp.inf


def _cleaned(x: Float[Array, "n width"]) -> tuple[Array, Array]:
    """A tile of vectors with 0 for what is not finite, and the vectors that hold such a number."""
    good = _finite(x.astype(jnp.float32))
    bad = jnp.where(good, 0.0, 1.0).max(1) > 0
    return jnp.where(good, x, jnp.zeros_like(x)), bad


def _within(n: Array, length: int, width: int, masked: bool) -> tuple[Array, Array | None]:
    """Columns of a tile of vectors, and where it lies in the array; None for everywhere."""
    columns = jnp.arange(power(width), dtype=jnp.int32)[None, :]
    parts = [(n < length)[:, None]] if masked and length % n.size else []
    parts += [columns < width] if power(width) != width else []
    if not parts:
        return columns, None
    return columns, jnp.broadcast_to(_all(parts), (n.size, columns.size))


def _rows(
    ref: Ref, b: Array, n: Array, h: Array, length: int, width: int, masked: bool = True
) -> Array:
    """Vectors `n` of `[b n h d]`; zeros beyond its end, where they are `masked`."""
    columns, inside = _within(n, length, width, masked)
    other = None if inside is None else 0.0
    return triton.load(ref.at[b, n[:, None], h, columns], mask=inside, other=other)


def _store(ref: Ref, b: Array, n: Array, h: Array, length: int, width: int, x: Array) -> None:
    columns, inside = _within(n, length, width, True)
    triton.store(ref.at[b, n[:, None], h, columns], x.astype(ref.dtype), mask=inside)


def _reader(refs: tuple[Ref, ...]) -> Callable[..., Array]:
    def read(number: int, place: Array, inside: Array | None, fill: Any) -> Array:
        ref = refs[number].at[place]
        return triton.load(ref, mask=inside, other=None if inside is None else fill)

    return read


def programs(
    config: KernelConfig, arrays: Differentiable, constants: Constants
) -> tuple[Kernel, Refs]:
    """The kernels with the user's functions, and their inputs but the block lists."""
    at = (jax.ShapeDtypeStruct((), jnp.int32),) * 4
    score_mod = mask = None
    operands: list[tuple[Array, ...]] = [(), ()]
    if config.score_mod is not None:
        change = partial(config.score_mod.function, arrays.floats, constants.score_mod)
        score = jax.ShapeDtypeStruct((), jnp.float32)
        score_mod, operands[0] = program(with_slope(change), score, *at)
    if config.mask is not None:
        mask, operands[1] = program(partial(config.mask.function, *constants.mask), *at)
    refs = Refs(constants.offsets, *arrays[1:], *operands)
    return Kernel(config, score_mod, mask), refs


def call(
    config: KernelConfig,
    body: Callable[..., None],
    refs: Refs,
    outputs: Sequence[Array | jax.ShapeDtypeStruct],
    *,
    warps: int,
    by_keys: bool,
) -> Sequence[Array]:
    """Runs a kernel for every block of queries or of keys, with outputs like those given."""
    (b, g, r, _, _), (_, blocks_q, blocks_k) = config.shape, config.tiling.counts
    visited: dict[str, Any] = lists(config.tiling, by_keys=by_keys)
    return pl.pallas_call(
        body,
        grid=(blocks_k, g, b) if by_keys else (blocks_q * config.parts, g * r, b),
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in outputs],
        compiler_params=triton.CompilerParams(num_warps=warps, num_stages=2),
        interpret=config.interpret,
        name=getattr(body, "__name__", None),
    )(refs._replace(**visited))
