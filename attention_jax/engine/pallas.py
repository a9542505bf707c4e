"""Fused GPU kernels of our own: softmax of dot products, with any score modifier and mask.

First derivatives of queries, keys and values are kernels too. Those of captured arrays, forward
mode and second derivatives are those of `engine.blockwise`: exact, and in linear memory. A hidden
number that is not finite reaches nothing.

Products of float32 follow `jax.default_matmul_precision`, as all of JAX; on a GPU that is TF32
unless it is set to "highest".

Reference: Dao 2023, arXiv:2307.08691, algorithms 1 and 2.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attention_jax.engine import pallas_blocks, refusals
from attention_jax.engine.block_map import BlockMap
from attention_jax.engine.implementation import Implementation, Output, Plan, fastest
from attention_jax.engine.pallas_lowering import Machine, Refused, program, with_slope
from attention_jax.engine.request import Request

# Keys and values: what fits a core.
WIDEST = 256


def run(
    request: Request, *, interpret: bool = False, block_sizes: tuple[int, int] | None = None
) -> Output:
    """Computes a request for the softmax of `scale * q . k`.

    Args:
      interpret: runs the kernels on any device, slowly, to test them.
      block_sizes: queries and keys in a block, powers of 2 from 16; None for a choice by width.
    """
    (query, _, value), shape = request.arrays, request.shape
    if not (request.rows and shape.s):
        lse = jnp.full(query.shape[:3], -jnp.inf, jnp.float32)
        out = jnp.zeros((*query.shape[:3], value.shape[-1]), query.dtype)
        return (out, lse) if request.return_lse else out
    # Imported where it runs: it depends on a part of JAX that is slow to load.
    from attention_jax.engine import pallas_rule

    tiling = tile(request, block_sizes=block_sizes)
    out, lse = pallas_rule.attend(request, tiling, interpret=interpret)
    return (out, lse) if request.return_lse else out


def tile(request: Request, *, block_sizes: tuple[int, int] | None = None) -> BlockMap:
    """The blocks that `run` visits with the same arguments."""
    if request.tiling is not None:
        return request.tiling
    least, like = pallas_blocks.LEAST, (request.query, request.key, request.value)
    if block_sizes and any(n < least or n & (n - 1) for n in block_sizes):
        raise ValueError(f"`block_sizes` must be powers of 2 from {least}; got {block_sizes}.")
    sizes = block_sizes or pallas_blocks.launch(pallas_blocks.FORWARD, *like, longest=False)[:2]
    conjuncts = request.analysis.conjuncts
    return pallas_blocks.tiling(request.shape, conjuncts, request.offsets, sizes)


def refuse(request: Request) -> str | None:
    """Needs a GPU, a softmax, and functions that can run on tiles."""
    platform = jax.default_backend()
    widest = max(request.key.shape[-1], request.value.shape[-1])
    reason = refusals.other_score(request)
    if reason:
        return reason
    if platform not in ("gpu", "cuda", "rocm"):
        return f"The kernels read memory as a GPU does; this is a {platform}."
    reason = refusals.mixed_dtypes(request, ("float32", "bfloat16", "float16"))
    if reason:
        return reason
    if widest > WIDEST:
        return f"Keys and values must be at most {WIDEST} wide, to fit a core; got {widest}."
    if not refusals.is_softmax(request):
        return "`normalizer` must be the softmax."
    if request.dropout is not None:
        return f"`dropout_rate` must be 0; got {request.dropout.rate}."
    return refuse_functions(request, machine)


def machine(operands: tuple[Array, ...]) -> Machine:
    """Runs functions on the shapes of tiles, to see whether it can."""
    return Machine(lambda number, place, *_: jnp.zeros(place.shape, operands[number].dtype))


def refuse_functions(
    request: Request,
    machine: Callable[[tuple[Array, ...]], Machine],
    *,
    tile: tuple[int, ...] = (),
) -> str | None:
    """Reason against functions of a request that a machine cannot run.

    Args:
      machine: made for the arrays that a function reads.
      tile: shape of what differs between pairs.
    """
    score, place = (jax.ShapeDtypeStruct((), dtype) for dtype in (jnp.float32, jnp.int32))
    scores, places = (jax.ShapeDtypeStruct(tile, x.dtype) for x in (score, place))
    score_mod = request.score_mod and with_slope(request.score_mod)
    at, tiles = (place,) * 4, (place, place, places, places)
    for name, function, examples, given in (
        ("score_mod", score_mod, (score, *at), (scores, *tiles)),
        ("mask", request.mask, at, tiles),
    ):
        reason = None if function is None else _reason(function, examples, given, machine)
        if reason:
            return f"`{name}` {reason}."
    return None


def _reason(
    function: Callable[..., Any],
    examples: tuple[Any, ...],
    tiles: tuple[Any, ...],
    machine: Callable[[tuple[Array, ...]], Machine],
) -> str | None:
    """Why a function cannot run on tiles; None where it can."""

    def run(*arguments: Array) -> list[Array]:
        steps, operands = program(function, *examples)
        return machine(operands).run(steps, *arguments)

    try:
        jax.eval_shape(run, *tiles)
    except Refused as error:
        return str(error)
    return None


def plan(request: Request) -> Plan:
    """The blocks of `run`, two numbers for each row, and what each part of the keys gives."""
    tiling = tile(request)
    parts = pallas_blocks.parts(tiling, request.shape.known)
    of_parts = (parts > 1) * parts * request.rows * (request.value.shape[-1] + 1) * 4
    _, queries, keys = tiling.sizes
    return Plan(
        "pallas",
        block_sizes=(queries, keys),
        skipped=tiling.skipped,
        temporary_bytes=2 * request.rows * request.dtype.itemsize + of_parts,
    )


IMPLEMENTATION = Implementation(
    "pallas", rank=30, refuse=refuse, prefer=fastest, run=run, plan=plan, tile=tile, nests=False
)
