"""Attention on TPUs by the kernels of JAX's Splash attention, where they can honor a request."""

from typing import Any

import jax
import jax.numpy as jnp

from attention_jax.engine import block_map, refusals
from attention_jax.engine.implementation import Implementation, Output, Plan, fastest
from attention_jax.engine.request import Request

WIDEST = 512


def run(request: Request, *, interpret: bool = False) -> Output:
    """The softmax of `scale * q . k` by Splash attention.

    Equal to the definition for finite arrays. A number that is not finite may also reach queries
    that do not see it: within a block Splash multiplies what is hidden by 0, and 0 * NaN is NaN.
    The query takes the scale in its own dtype, before the products. These have the precision of
    `jax.default_matmul_precision`, which on a TPU is less than float32's unless one asks for it.
    First derivatives only, in reverse mode only.

    Args:
      interpret: runs the kernels without a TPU, slowly.

    Reference: the blocks that the mask empties are skipped as in Dao et al. 2022,
    arXiv:2205.14135, section 3.3.
    """
    # Imported where it runs: it depends on an experimental part of JAX.
    from attention_jax.engine import splash_kernels

    (query, key, value), shape = request.arrays, request.shape
    scale: Any = request.analysis.score.dot_scale
    width = max(key.shape[-1], value.shape[-1])
    sizes = splash_kernels.block_sizes(shape.t, shape.s, width)
    seeing, tiles = splash_kernels.tile(request, sizes)
    q, k, v = (
        splash_kernels.heads_first(x, size)
        for x, size in zip(
            (query * scale, key, value),
            (sizes[0], *sizes[1:] * 2),
            strict=True,
        )
    )
    out = jax.vmap(splash_kernels.kernel(tiles, sizes, interpret=interpret))(q, k, v)
    out = out[:, :, : shape.t, : value.shape[-1]].transpose(0, 2, 1, 3)
    return out if seeing.all() else jnp.where(seeing.T[None, :, :, None], out, 0)


def refuse(request: Request) -> str | None:
    """Needs a TPU, a softmax, and a mask that is known before the run."""
    platform, name = jax.default_backend(), "Splash attention"
    widest = max(request.key.shape[-1], request.value.shape[-1])
    reason = refusals.other_score(request)
    if reason:
        return reason
    if platform != "tpu":
        return f"Splash attention needs a TPU; this is a {platform}."
    reason = refusals.mixed_dtypes(request, ("float32", "bfloat16"), f" for {name}")
    if reason:
        return reason
    if widest > WIDEST:
        return f"Keys and values must be at most {WIDEST} wide, to fit a core; got {widest}."
    return (
        refusals.empty_arrays(request, name)
        or refusals.beyond_softmax(request, name, sums="whose sums have no derivative")
        or _refuse_mask(request)
    )


def _refuse_mask(request: Request) -> str | None:
    mask = request.analysis.mask
    if mask is not None and not mask.is_known(request.offsets):
        return (
            "`mask` and the offsets must be known before the run for Splash attention; "
            "here they are traced."
        )
    by_b, by_h, _, _ = (False,) * 4 if mask is None else mask.used
    if by_b:
        return "`mask` must be the same for all sequences for Splash attention; it depends on b."
    pairs = (request.query.shape[2] if by_h else 1) * request.shape.t * request.shape.s
    if pairs > block_map.MOST_PAIRS:
        return (
            "Splash attention asks the mask for every pair before the run, which above "
            f"{block_map.MOST_PAIRS} pairs takes too long; got {pairs}."
        )
    return None


def plan(request: Request) -> Plan:
    """One sum for each row."""
    return Plan("splash", temporary_bytes=request.rows * 4)


IMPLEMENTATION = Implementation(
    "splash", rank=20, refuse=refuse, prefer=fastest, run=run, plan=plan
)
