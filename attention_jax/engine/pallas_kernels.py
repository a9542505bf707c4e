"""Pallas kernels for a GPU: softmax attention block by block, forward and backward.

A kernel takes one block of queries over its blocks of keys, or the other way round, and skips the
blocks that the mask empties. It holds the user's functions, as `engine.pallas_lowering` runs them.

Reference: Dao 2023, arXiv:2307.08691, algorithms 1 and 2.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float, Int, PyTree

from attention_jax.core import online_normalizers
from attention_jax.core.jaxprs import Hoisted
from attention_jax.core.numerics import Offset
from attention_jax.core.types import Like
from attention_jax.engine import block_map
from attention_jax.engine.block_map import BlockMap, Shape, Sizes, TracedMask
from attention_jax.engine.pallas_lowering import Machine, Program, program, with_slope

# exp(x) = exp2(x log2(e)): a GPU has an instruction for the latter.
LOG2_E = math.log2(math.e)
# The least positions in a block: what a tensor core multiplies.
LEAST = 16


class KernelConfig(NamedTuple):
    """Static configuration.

    Attributes:
      widths, sizes: of keys and values; of a block of queries and of keys.
      score_mod, mask: without captured arrays.
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
      bad_q, bad_k: what to add to the scores of each query and key: 0, or NaN.
      order, counts: blocks to visit; how many of them have hidden pairs, and how many are all.
      lse, shift, ct: for the backward pass; `shift` is what the softmax takes off each slope.
    """

    offsets: Ref
    q: Ref
    k: Ref
    v: Ref
    bad_q: Ref
    bad_k: Ref
    score_mod: tuple[Ref, ...]
    mask: tuple[Ref, ...]
    order: Ref = None
    counts: Ref = None
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
        b, h, line = pl.program_id(2), pl.program_id(1), pl.program_id(0)
        group = lax.div(h, jnp.int32(r))
        rows = line * block_q + jnp.arange(block_q, dtype=jnp.int32)
        q = _rows(refs.q, b, rows, h, t, d)

        def look(masked: bool, block: Array, state: PyTree) -> PyTree:
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
            jnp.full((block_q,), online_normalizers.lowest(jnp.float32), jnp.float32),
            jnp.zeros((block_q,), jnp.float32),
        )
        out, high, total = self.loop(refs, self.chunk(b, group), line, look, start)
        some = jnp.where(total == 0, 1.0, total)
        _store(out_ref, b, rows, h, t, e, out / some[:, None])
        lse = jnp.where(total == 0, -jnp.inf, high + jnp.log(some))
        triton.store(lse_ref.at[b, h, rows], lse, mask=rows < t)

    def backward_query(self, refs: Refs, dq_ref: Ref) -> None:
        """The cotangent of one block of queries, over its blocks of keys."""
        (_, _, r, t, s), (d, e), (block_q, block_k) = self.config[:3]
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

    def backward_key(self, refs: Refs, dk_ref: Ref, dv_ref: Ref) -> None:
        """The cotangents of one block of keys, over its queries of all heads of the group."""
        (_, _, r, _, s), (d, e), (block_q, block_k) = self.config[:3]
        b, g, line = pl.program_id(2), pl.program_id(1), pl.program_id(0)
        keys = line * block_k + jnp.arange(block_k, dtype=jnp.int32)
        k, v = _rows(refs.k, b, keys, g, s, d), _rows(refs.v, b, keys, g, s, e)

        def head(n: Array, sums: PyTree) -> PyTree:
            def look(masked: bool, block: Array, sums: PyTree) -> PyTree:
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
        """The number of the block list of a sequence and a key head."""
        return b * self.config.shape.g + g if self.config.tiling.counts[0] > 1 else jnp.int32(0)

    def loop(self, refs: Refs, chunk: Array, line: Array, look: Callable, state: PyTree) -> PyTree:
        """`look(masked, block, state) -> state` for every block that is not empty."""
        masked, both = refs.counts[chunk, line, 0], refs.counts[chunk, line, 1]
        tiling = self.config.tiling
        if len(tiling.partial_runs):
            step = lambda n, x: look(True, refs.order[chunk, line, n], x)  # noqa: E731
            state = lax.fori_loop(jnp.int32(0), masked, step, state)
        if len(tiling.full_runs):
            step = lambda n, x: look(False, refs.order[chunk, line, n], x)  # noqa: E731
            state = lax.fori_loop(masked, both, step, state)
        return state

    def pairs(
        self, refs: Refs, at: tuple[Array, ...], q: Array, k: Array, masked: bool
    ) -> tuple[Array, Array | None, Array | None]:
        """Scores of a tile, -inf where hidden; their slopes, and the visible pairs."""
        (_, _, _, t, s), (b, h, rows, keys) = self.config.shape, at
        x, slope, visible = _dot(q, k, (1, 1)) * self.config.scale, None, None
        # Padding repeats the last position, where the user's functions are surely defined.
        i = (refs.offsets[0] + jnp.minimum(rows, t - 1))[:, None]
        j = (refs.offsets[1] + jnp.minimum(keys, s - 1))[None, :]
        if self.score_mod is not None:
            pair = Machine(_reader(refs.score_mod)).run(self.score_mod, x, b, h, i, j)
            x, slope = (jnp.broadcast_to(y, x.shape) for y in pair)
        bad_q = triton.load(refs.bad_q.at[b, h, rows], mask=rows < t, other=0.0)
        group = lax.div(h, jnp.int32(self.config.shape.r))
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
        change = (change if slope is None else change * slope) * self.config.scale
        if visible is None:
            return p, change
        # Not by a factor of 0: rows that are NaN must not reach keys that they do not see.
        return jnp.where(visible, p, 0.0), jnp.where(visible, change, 0.0)

    def read_rows(self, refs: Refs, b: Array, h: Array, rows: Array) -> tuple[Array, ...]:
        t, (d, e) = self.config.shape.t, self.config.widths
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
    """Columns of a tile of vectors, and where it lies in the array: a tile is a power of 2."""
    columns = jnp.arange(_power(width), dtype=jnp.int32)[None, :]
    return columns, (n < length)[:, None] & (columns < width)


def _rows(ref: Ref, b: Array, n: Array, h: Array, length: int, width: int) -> Array:
    """Vectors `n` of `[b n h d]`; zeros beyond its end."""
    columns, inside = _within(n, length, width)
    return triton.load(ref.at[b, n[:, None], h, columns], mask=inside, other=0.0)


def _store(ref: Ref, b: Array, n: Array, h: Array, length: int, width: int, x: Array) -> None:
    columns, inside = _within(n, length, width)
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
    (q, bad_q), (k, bad_k), (v, bad_v) = (_clean(x) for x in arrays[1:])
    refs = Refs(constants.offsets, q, k, v, bad_q, bad_k + bad_v, *operands)
    return Kernel(config, score_mod, mask), refs


def _clean(x: Float[Array, "b n h d"]) -> tuple[Array, Float[Array, "b h n"]]:
    """A finite copy, and NaN for each vector that was not finite."""
    good = jnp.isfinite(x)
    bad = jnp.where(good.all(-1), jnp.float32(0), jnp.float32(jnp.nan))
    return jnp.where(good, x, jnp.zeros_like(x)), bad.transpose(0, 2, 1)


def lists(tiling: BlockMap, *, by_keys: bool) -> dict[str, np.ndarray]:
    """For each block of queries its blocks of keys, or the other way round: masked ones first."""
    kinds = np.zeros(tiling.counts, np.uint8)
    for kind, places in ((2, tiling.partial), (1, tiling.full)):
        kinds[tuple(places.T)] = kind
    kinds = kinds.swapaxes(1, 2) if by_keys else kinds
    counts: Any = np.stack([(kinds == 2).sum(-1), (kinds > 0).sum(-1)], -1).astype(np.int32)
    order = np.argsort(2 - kinds, axis=-1, kind="stable").astype(np.int32)
    most = int(counts.max()) if counts.size else 1
    return dict(order=order[..., : max(most, 1)], counts=counts)


def call(
    config: KernelConfig,
    body: Callable[..., None],
    refs: Refs,
    outputs: list[Array | jax.ShapeDtypeStruct],
    *,
    by_keys: bool,
) -> Sequence[Array]:
    """Runs a kernel for every block of queries or of keys, with outputs like those given."""
    (b, g, r, _, _), (_, blocks_q, blocks_k) = config.shape, config.tiling.counts
    listed: dict[str, Any] = lists(config.tiling, by_keys=by_keys)
    return pl.pallas_call(
        body,
        grid=(blocks_k, g, b) if by_keys else (blocks_q, g * r, b),
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in outputs],
        compiler_params=triton.CompilerParams(
            num_warps=4 if max(config.widths) <= 64 else 8, num_stages=2
        ),
        interpret=config.interpret,
        name=getattr(body, "__name__", None),
    )(refs._replace(**listed))


def choose_sizes(query: Like, key: Like, value: Like) -> tuple[int, int]:
    """Queries and keys in a block, to fit the 99 KiB that the smaller GPUs give to one."""
    size = query.dtype.itemsize
    wide = max(_power(key.shape[-1]), _power(value.shape[-1])) * size
    most = 64 if wide <= 256 else 32 if wide <= 512 else 16
    keys = max(most * 2 // size, LEAST)
    return min(most, _power(query.shape[1])), min(keys, _power(key.shape[1]))


def tiling(
    shape: Shape,
    conjuncts: Sequence[TracedMask],
    offsets: tuple[Offset, Offset],
    sizes: tuple[int, int],
) -> BlockMap:
    """The blocks to visit: one list for all heads, where no known mask tells them apart."""
    apart = any(any(x.used[:2]) for x in conjuncts if x.is_known(offsets))
    heads = 1 if apart else max(shape.b * shape.g, 1)
    return block_map.block_map(conjuncts, shape, Sizes(heads, *sizes), offsets)
