"""Kernels of our own for Hopper GPUs by Pallas and Mosaic, where they are asked for by name.

They keep tensor cores and memory busy at once. Interpreted they give the definition, and they lower
for a GPU, but they have not run on one yet: so nothing chooses them by itself.

Reference: Shah et al. 2024, arXiv:2407.08608 (FlashAttention-3), section 3.1.
"""

import jax

from attention_jax.engine import pallas, pallas_blocks, refusals
from attention_jax.engine.block_map import BlockMap
from attention_jax.engine.implementation import Implementation, Output, Plan
from attention_jax.engine.pallas_lowering import ELEMENTWISE_MOSAIC, Machine, same_for_all
from attention_jax.engine.request import Request

# Keys and values that the kernel has tiles for.
WIDTHS = (64, 128)
# Queries, and keys, in a block.
BLOCK = 128


def run(request: Request, *, interpret: bool = False) -> Output:
    """The softmax of `scale * q . k`, with any score modifier and mask that looks up no pair.

    Equal to the definition for finite arrays; for others see `engine.cudnn`. Functions such as
    `tanh` in a score modifier are the approximations of the GPU, of some 11 bits. Derivatives
    beyond the first in reverse mode are those of `engine.pallas`.

    Args:
      interpret: runs the kernel on any device, slowly, to test it.
    """
    # Imported where it runs: it depends on an experimental part of JAX.
    from attention_jax.engine import mosaic_backward, mosaic_kernels, pallas_rule

    passes = pallas_rule.Passes(mosaic_kernels.forward, mosaic_backward.backward)
    out, lse = pallas_rule.attend(request, tile(request), interpret=interpret, passes=passes)
    return (out, lse) if request.return_lse else out


def tile(request: Request) -> BlockMap:
    """The blocks that `run` visits."""
    if request.tiling is not None:
        return request.tiling
    return pallas_blocks.tiling(
        request.shape, request.analysis.conjuncts, request.offsets, (BLOCK, BLOCK)
    )


def refuse(request: Request) -> str | None:
    """Needs a Hopper GPU, half precision, whole blocks, and functions of positions alone."""
    name, (d, e), shape = "Mosaic", (request.key.shape[-1], request.value.shape[-1]), request.shape
    reason = refusals.other_score(request) or _refuse_device()
    reason = reason or refusals.mixed_dtypes(request, ("bfloat16", "float16"), f" for {name}")
    if reason:
        return reason
    if d != e or d not in WIDTHS:
        return f"Keys and values must be both 64 or both 128 wide for {name}; got {d} and {e}."
    reason = refusals.empty_arrays(request, name)
    if reason:
        return reason
    if shape.t % BLOCK or shape.s % BLOCK:
        return f"{name} needs multiples of {BLOCK} queries and keys; got {shape.t} and {shape.s}."
    if not refusals.is_softmax(request):
        return f"`normalizer` must be the softmax for {name}."
    if request.dropout is not None:
        return f"`dropout_rate` must be 0 for {name}; got {request.dropout.rate}."
    return pallas.refuse_functions(
        request,
        lambda operands: Machine(same_for_all(operands), ELEMENTWISE_MOSAIC),
        tile=(2, 2),
    )


def _refuse_device() -> str | None:
    if jax.__version_info__ < (0, 12):
        return f"It is written for JAX 0.12 and later; this is {jax.__version__}."
    if jax.default_backend() not in ("gpu", "cuda"):
        return f"It needs a Hopper GPU; this is a {jax.default_backend()}."
    capability = str(getattr(jax.devices()[0], "compute_capability", "unknown"))
    if not capability.startswith("9."):
        return (
            "It needs the tensor cores of a Hopper GPU (compute capability 9.0); "
            f"this one has {capability}."
        )
    return None


def plan(request: Request) -> Plan:
    """The blocks of `run`, and two numbers for each row."""
    tiling = tile(request)
    return Plan(
        "mosaic",
        block_sizes=tiling.sizes[1:],
        skipped=tiling.skipped,
        temporary_bytes=2 * request.rows * 4,
    )


IMPLEMENTATION = Implementation(
    "mosaic",
    rank=25,
    refuse=refuse,
    prefer=lambda request: None,
    run=run,
    plan=plan,
    tile=tile,
    nests=False,
)
