"""Mosaic GPU kernels of softmax attention for Hopper, backward: one for queries, one for keys.

As forward, two groups of warps compute 64 rows each, and a third copies the blocks of the other
side ahead.

Reference: Dao 2023, arXiv:2307.08691, algorithm 2. How the back end is called follows JAX's own
kernels, jax/experimental/pallas/ops/gpu/attention_mgpu.py.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu
from jaxtyping import Array, PyTree

from attention_jax.engine import mosaic_parts, pallas_blocks
from attention_jax.engine.mosaic_parts import (
    GROUP,
    GROUPS,
    STAGES,
    THREADS,
    Functions,
    Tile,
)
from attention_jax.engine.pallas_kernels import (
    LOG2_E,
    Constants,
    Differentiable,
    KernelConfig,
    Ref,
    Refs,
)

# Rows of a block of one group, and of both.
ROWS = GROUP * GROUPS


class Scratch(NamedTuple):
    """Memory of a block, and signals that vectors have come and that a stage is free.

    Attributes:
      own: tiles of each group: queries and cotangents, or keys and values.
      own_numbers: log-sum-exp and shift of the queries of each group, where it has queries.
      other: tiles of each stage: those of the other side.
      other_numbers: log-sum-exp and shift, where the other side has queries.
      room: for the interpreter; see `mosaic_parts.add_product`.
    """

    own: tuple[Ref, Ref]
    own_numbers: tuple[Ref, ...]
    other: tuple[Ref, Ref]
    other_numbers: tuple[Ref, ...]
    own_came: Ref
    came: Ref
    free: Ref
    room: Ref = None


class Kernel(NamedTuple):
    """One block of queries over its blocks of keys, or the other way round."""

    functions: Functions
    inputs: Refs
    scratch: Scratch

    def copy(self, others: Callable[[Array, Array], list[Ref]], heads: int) -> None:
        """Copies blocks of the other side, each to the stage that is free next.

        Args:
          others: from a block and a head of a group, what to copy.
          heads: see `visit`.
        """
        own = self.scratch
        rooms = [*own.other, *own.other_numbers]

        def one(block: Callable, head: Array, n: Array, step: Array) -> Array:
            stage = lax.rem(step, jnp.int32(STAGES))
            pl.when(step >= STAGES)(partial(mosaic_gpu.barrier_wait, own.free.at[stage]))
            for ref, room in zip(others(block(n), head), rooms, strict=True):
                mosaic_gpu.copy_gmem_to_smem(ref, room.at[stage], own.came.at[stage])
            return step + 1

        self.visit(one, jnp.int32(0), heads)

    def visit(self, look: Callable, state: PyTree, heads: int, masked: bool = False) -> PyTree:
        """`look(block, head, n, state)` for all blocks of all heads.

        Args:
          heads: of a group, one after another; 0 for the one head of the queries.
          masked: tells `look` first whether the block has hidden pairs.
        """
        g = lax.axis_index("h")
        if heads == 0:
            g = lax.div(g, jnp.int32(self.functions.config.shape.r))

        def head(number: Array, state: PyTree) -> PyTree:
            for hidden, first, last, block in self.functions.visits(self.inputs, g):
                one = partial(look, hidden) if masked else look
                state = lax.fori_loop(first, last, partial(one, block, number), state)
            return state

        return lax.fori_loop(0, heads, head, state) if heads > 1 else head(jnp.int32(0), state)

    def take(self, own: list[Ref]) -> Array:
        """Copies what the group computes, and waits for it; the number of the group."""
        group = lax.axis_index(THREADS)
        came = self.scratch.own_came.at[group]
        rooms = [*self.scratch.own, *self.scratch.own_numbers]
        for ref, room in zip(own, rooms, strict=True):
            mosaic_gpu.copy_gmem_to_smem(ref, room.at[group], came)
        mosaic_gpu.barrier_wait(came)
        return group

    def give(self, tile: Array, room: Ref, to: Ref) -> None:
        """Stores a tile by way of memory that is no longer needed."""
        room[...] = tile.astype(room.dtype)
        mosaic_gpu.commit_smem()
        mosaic_gpu.copy_smem_to_gmem(room, to)
        mosaic_gpu.wait_smem_to_gmem(0)

    def add(self, sums: Array, x: Array, y: Ref) -> Array:
        """`sums + x @ y`."""
        room = self.scratch.room
        room = None if room is None else room.at[lax.axis_index(THREADS)]
        return mosaic_parts.add_product(sums, x, y, room)


def _for_queries(functions: Functions, inputs: Refs, dq_ref: Ref, scratch: Scratch) -> None:
    """The cotangent of a block of queries."""
    kernel, (b, h, line) = Kernel(functions, inputs, scratch), (lax.axis_index(x) for x in "bhl")
    g, size = lax.div(h, jnp.int32(functions.config.shape.r)), functions.config.sizes[1]

    def others(block: Array, head: Array) -> list[Ref]:
        keys = pl.ds(block * size, size)
        return [x.at[b, keys, g] for x in (inputs.k, inputs.v)]

    def look(masked: bool, block: Callable, head: Array, n: Array, state: PyTree) -> PyTree:
        dq, step = state
        group, first = lax.axis_index(THREADS), (line * GROUPS + lax.axis_index(THREADS)) * GROUP
        stage, (q, ct) = lax.rem(step, jnp.int32(STAGES)), (x.at[group] for x in scratch.own)
        mosaic_gpu.barrier_wait(scratch.came.at[stage])
        k, v = (x.at[stage] for x in scratch.other)
        at = Tile(b, h, first, block(n) * size)
        x, slope = functions.scores(inputs, at, _dots(q, k), masked)
        lse, shift = (_column(y.at[group], x.shape) for y in scratch.own_numbers)
        _, change = _weights(x, slope, _dots(ct, v), lse, shift)
        dq = kernel.add(dq, change, k)
        mosaic_gpu.barrier_arrive(scratch.free.at[stage])
        return dq, step + 1

    def compute() -> None:
        rows = pl.ds((line * GROUPS + lax.axis_index(THREADS)) * GROUP, GROUP)
        group = kernel.take(_queries(inputs, b, h, rows))
        start = mosaic_parts.start((GROUP, functions.config.widths[0]), 0.0)
        dq, _ = kernel.visit(look, (start, jnp.int32(0)), 0, masked=True)
        dq = dq * functions.config.scale
        kernel.give(dq, scratch.own[0].at[group], dq_ref.at[b, rows, h])

    mosaic_parts.split(compute, partial(kernel.copy, others, 0))


def _for_keys(
    functions: Functions, inputs: Refs, dk_ref: Ref, dv_ref: Ref, scratch: Scratch
) -> None:
    """The cotangents of a block of keys, over the queries of all heads of its group."""
    kernel, (b, g, line) = Kernel(functions, inputs, scratch), (lax.axis_index(x) for x in "bhl")
    r, size = functions.config.shape.r, functions.config.sizes[0]
    own, other = scratch.own, scratch.other
    first = (line * GROUPS + lax.axis_index(THREADS)) * GROUP

    def others(block: Array, head: Array) -> list[Ref]:
        return _queries(inputs, b, g * r + head, pl.ds(block * size, size))

    def look(masked: bool, block: Callable, head: Array, n: Array, state: PyTree) -> PyTree:
        dk, dv, step = state
        stage, group = lax.rem(step, jnp.int32(STAGES)), lax.axis_index(THREADS)
        k, v, q, ct = (x.at[n] for y, n in ((own, group), (other, stage)) for x in y)
        mosaic_gpu.barrier_wait(scratch.came.at[stage])
        at = Tile(b, g * r + head, block(n) * size, first, queries=1)
        x, slope = functions.scores(inputs, at, _dots(k, q), masked)
        lse, shift = (_row(y.at[stage], x.shape) for y in scratch.other_numbers)
        p, change = _weights(x, slope, _dots(v, ct), lse, shift)
        dv, dk = kernel.add(dv, p, ct), kernel.add(dk, change, q)
        mosaic_gpu.barrier_arrive(scratch.free.at[stage])
        return dk, dv, step + 1

    def compute() -> None:
        keys = pl.ds(first, GROUP)
        group = kernel.take([x.at[b, keys, g] for x in (inputs.k, inputs.v)])
        start = mosaic_parts.start((GROUP, functions.config.widths[0]), 0.0)
        dk, dv, _ = kernel.visit(look, (start, start, jnp.int32(0)), r, masked=True)
        kernel.give(dk * functions.config.scale, own[0].at[group], dk_ref.at[b, keys, g])
        kernel.give(dv, own[1].at[group], dv_ref.at[b, keys, g])

    mosaic_parts.split(compute, partial(kernel.copy, others, r))


def _queries(inputs: Refs, b: Array, h: Array, rows: Any) -> list[Ref]:
    """All that belongs to some queries of a head."""
    vectors = [x.at[b, rows, h] for x in (inputs.q, inputs.ct)]
    return [*vectors, *(x.at[b, h, rows] for x in (inputs.lse, inputs.shift))]


def _dots(x: Ref, y: Ref) -> Array:
    return mosaic_parts.product(x, y.transpose((1, 0)))


def _column(ref: Ref, shape: tuple[int, ...]) -> Array:
    """A number for each row of a tile."""
    x = mosaic_gpu.load(ref, layout=mosaic_gpu.Layout.WGMMA.reduce(1))
    return lax.broadcast_in_dim(x, shape, [0])


def _row(ref: Ref, shape: tuple[int, ...]) -> Array:
    """A number for each column of a tile."""
    x = mosaic_gpu.load(ref, layout=mosaic_gpu.Layout.WGMMA.reduce(0))
    return lax.broadcast_in_dim(x, shape, [1])


def _weights(
    x: Array, slope: Array | None, d_weights: Array, lse: Array, shift: Array
) -> tuple[Array, Array]:
    """Weights of a tile, and the cotangents of its scaled products."""
    p = jnp.exp2(x - lse)
    change = p * (d_weights - shift)
    return p, change if slope is None else change * slope


def backward(
    config: KernelConfig, arrays: Differentiable, constants: Constants, results: PyTree, cts: PyTree
) -> tuple[Array, ...]:
    """Cotangents of queries, keys and values, from those of `results`."""
    functions, inputs = mosaic_parts.functions(config, arrays, constants, slopes=True)
    (out, lse), (ct, ct_lse) = results, cts
    shift = (out.astype(jnp.float32) * ct.astype(jnp.float32)).sum(-1) - ct_lse
    lse = jnp.where(lse == -jnp.inf, 0.0, lse * LOG2_E)
    inputs = inputs._replace(lse=lse.transpose(0, 2, 1), shift=shift.transpose(0, 2, 1), ct=ct)
    (dq,) = _run(_for_queries, functions, inputs, (arrays.q,), (ROWS, GROUP))
    return dq, *_run(_for_keys, functions, inputs, (arrays.k, arrays.v), (GROUP, ROWS))


def _run(
    kernel: Callable[..., None],
    functions: Functions,
    inputs: Refs,
    like: tuple[Array, ...],
    sizes: tuple[int, int],
) -> tuple[Array, ...]:
    tiling = pallas_blocks.refined(functions.config.tiling, functions.config.shape, sizes)
    config = functions.config._replace(tiling=tiling, sizes=sizes)
    by_keys, width, dtype = sizes[0] < sizes[1], config.widths[0], like[0].dtype
    own, other = (mosaic_parts.tiles((n, GROUP, width), dtype) for n in (GROUPS, STAGES))
    rows = mosaic_parts.numbers((STAGES if by_keys else GROUPS, GROUP))
    scratch = Scratch(
        own=(own, own),
        own_numbers=() if by_keys else (rows, rows),
        other=(other, other),
        other_numbers=(rows, rows) if by_keys else (),
        own_came=mosaic_gpu.Barrier(num_arrivals=2 if by_keys else 4, num_barriers=GROUPS),
        came=mosaic_gpu.Barrier(num_arrivals=4 if by_keys else 2, num_barriers=STAGES),
        free=mosaic_gpu.Barrier(num_arrivals=GROUPS, num_barriers=STAGES),
        room=mosaic_parts.tiles((GROUPS, GROUP, GROUP), dtype) if config.interpret else None,
    )
    body = partial(kernel, functions._replace(config=config))
    results = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in like)
    return mosaic_parts.run(body, config, inputs, results, (scratch,), by_keys=by_keys)
