"""Parts of the Mosaic GPU kernels: inputs, the user's functions on tiles, products of tiles."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu
from jaxtyping import Array, PyTree

from attention_jax.engine import pallas_blocks
from attention_jax.engine.pallas_kernels import (
    LOG2_E,
    Constants,
    Differentiable,
    KernelConfig,
    Ref,
    Refs,
)
from attention_jax.engine.pallas_lowering import (
    ELEMENTWISE_MOSAIC,
    Machine,
    Program,
    program,
    same_for_all,
    with_slope,
)

# Rows of a group of warps, as many as its tensor core multiplies at once, and such groups.
GROUP, GROUPS = 64, 2
# Blocks that are in memory at once.
STAGES = 2
# Registers of a thread that computes, and of one that copies: 65,536 for 3 groups of 128 threads.
COMPUTING, COPYING = 232, 40
THREADS = "group"


class Tile(NamedTuple):
    """Where a tile lies: sequence, head, first query, first key, and the axis of its queries."""

    b: Array
    h: Array
    query: Array
    key: Array
    queries: int = 0


class Functions(NamedTuple):
    """The functions of a request, in a kernel."""

    config: KernelConfig
    score_mod: Program | None
    mask: Program | None

    def visits(self, inputs: Refs, g: Array) -> Iterator[tuple[bool, Array, Array, Callable]]:
        """`masked, first, last, block` of `pallas_blocks.visits`, for the two kinds of blocks."""
        chunk, line = jnp.int32(0), lax.axis_index("l")
        if self.config.tiling.counts[0] > 1:
            chunk = lax.axis_index("b") * self.config.shape.g + g
        for blocks, masked in ((inputs.partial, True), (inputs.full, False)):
            if blocks is not None:
                yield masked, *pallas_blocks.visits(blocks, chunk, line)

    def scores(
        self, inputs: Refs, at: Tile, dots: Array, masked: bool
    ) -> tuple[Array, Array | None]:
        """Scores of a tile times log2(e), -inf where hidden; and their slopes, where asked for."""
        i = inputs.offsets[0] + at.query + _places(dots.shape, at.queries)
        j = inputs.offsets[1] + at.key + _places(dots.shape, 1 - at.queries)
        if self.score_mod is None:
            x, slopes = dots * (self.config.scale * LOG2_E), []
        else:
            machine, scaled = _machine(inputs.score_mod), dots * self.config.scale
            x, *slopes = machine.run(self.score_mod, scaled, at.b, at.h, i, j)
            x = jnp.broadcast_to(x, dots.shape) * LOG2_E
        if masked and self.mask is not None:
            (seen,) = _machine(inputs.mask).run(self.mask, at.b, at.h, i, j)
            x = jnp.where(jnp.broadcast_to(seen, x.shape), x, -jnp.inf)
        return x, jnp.broadcast_to(slopes[0], x.shape) if slopes else None


def functions(
    config: KernelConfig, arrays: Differentiable, constants: Constants, *, slopes: bool
) -> tuple[Functions, Refs]:
    """The user's functions, and the inputs of a kernel but the blocks to visit."""
    at = (jax.ShapeDtypeStruct((), jnp.int32),) * 4
    score_mod = mask = None
    operands: list[tuple[Array, ...]] = [(), ()]
    if config.score_mod is not None:
        change = partial(config.score_mod.function, arrays.floats, constants.score_mod)
        change = with_slope(change) if slopes else _as_float32(change)
        score_mod, operands[0] = program(change, jax.ShapeDtypeStruct((), jnp.float32), *at)
    if config.mask is not None:
        mask, operands[1] = program(partial(config.mask.function, *constants.mask), *at)
    return Functions(config, score_mod, mask), Refs(constants.offsets, *arrays[1:], *operands)


def _as_float32(score_mod: Callable[..., Array]) -> Callable[..., Array]:
    return lambda score, *at: score_mod(score, *at).astype(jnp.float32)


def _machine(refs: tuple[Ref, ...]) -> Machine:
    return Machine(same_for_all(refs), ELEMENTWISE_MOSAIC)


def _places(shape: tuple[int, ...], axis: int) -> Array:
    layout = mosaic_gpu.Layout.WGMMA
    return mosaic_gpu.broadcasted_iota(jnp.int32, shape, axis, layout=layout)


def start(shape: tuple[int, ...], number: float) -> Array:
    """A tile of one number, or one for each of its rows, as products leave them in registers."""
    layout: Any = mosaic_gpu.Layout.WGMMA
    layout = layout if len(shape) == 2 else layout.reduce(1)
    return mosaic_gpu.layout_cast(jnp.full(shape, number, jnp.float32), layout)


def product(x: Ref, y: Ref) -> Array:
    """`x @ y` of tiles in memory."""

    def run(sums: Ref) -> Array:
        mosaic_gpu.wgmma(sums, x, y)
        return sums[...]

    return pl.run_scoped(run, mosaic_gpu.ACC((x.shape[0], y.shape[1]), jnp.float32))


def add_product(sums: Array, x: Array, y: Ref, room: Ref | None) -> Array:
    """`sums + x @ y` in the registers of `sums`.

    Args:
      room: for `x` in memory, where JAX's interpreter wants it; None on a GPU.
    """
    x = x.astype(y.dtype)
    if room is None:
        return pl.run_state(lambda ref: mosaic_gpu.wgmma(ref, x, y))(mosaic_gpu.ACC.init(sums))
    room[...] = x
    mosaic_gpu.commit_smem()
    return sums + product(room, y)


def run(
    kernel: Callable[..., None],
    config: KernelConfig,
    inputs: Refs,
    results: PyTree,
    scratch: PyTree,
    *,
    by_keys: bool,
) -> PyTree:
    """Runs a kernel for every block of queries or of keys; two groups compute and one copies.

    Args:
      kernel: `(inputs, results, scratch)` of references; the groups tell themselves apart.
      results: shapes and dtypes of its results.
    """
    (b, g, r, _, _), (_, blocks_q, blocks_k) = config.shape, config.tiling.counts
    visited = pallas_blocks.lists(config.tiling, by_keys=by_keys)
    both = {name: jnp.asarray(x) for name, x in visited.items()}
    inputs = inputs._replace(partial=both.get("partial"), full=both.get("full"))
    call = mosaic_gpu.kernel(
        kernel,
        out_type=results,
        scratch_types=scratch,
        grid=(g, blocks_k, b) if by_keys else (g * r, blocks_q, b),
        grid_names=("h", "l", "b"),
        num_threads=GROUPS + 1,
        thread_name=THREADS,
        compiler_params=mosaic_gpu.CompilerParams(approx_math=True),
        interpret=mosaic_gpu.InterpretGPUParams(detect_races=True) if config.interpret else None,
    )
    # The back end has no rule for `vmap`.
    return jax.custom_batching.sequential_vmap(call)(inputs)


def tiles(shape: tuple[int, ...], dtype: jnp.dtype) -> PyTree:
    """Memory of tiles, in the order in which tensor cores read them."""
    # To a type checker these classes are abstract.
    tiling, swizzle = (getattr(mosaic_gpu, f"{x}Transform") for x in ("Tiling", "Swizzle"))
    return mosaic_gpu.SMEM(shape, dtype, transforms=(tiling((8, 64)), swizzle(128)))


def numbers(shape: tuple[int, ...]) -> PyTree:
    """Memory of a number for each row."""
    return mosaic_gpu.SMEM(shape, jnp.float32)


def split(compute: Callable[[], None], copy: Callable[[], None]) -> None:
    """Runs `compute` in the groups that compute, and `copy` in the last."""
    group = lax.axis_index(THREADS)

    @pl.when(group < GROUPS)
    def _computes() -> None:
        mosaic_gpu.set_max_registers(COMPUTING, action="increase")
        compute()

    @pl.when(group == GROUPS)
    def _copies() -> None:
        mosaic_gpu.set_max_registers(COPYING, action="decrease")
        copy()
