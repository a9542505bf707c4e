"""Attention by the kernels of the tokamax library, where it is installed and asked for by name."""

from importlib.util import find_spec
from typing import Any

import jax

from attention_jax.engine import refusals
from attention_jax.engine.implementation import Implementation, Output, Plan, named_output
from attention_jax.engine.request import Request


def run(request: Request, *, kernel: str | None = None) -> Output:
    """The softmax of `scale * q . k` by tokamax.

    Equal to the definition for finite arrays; for others see `engine.cudnn`. First derivatives
    only, in reverse mode only.

    Args:
      kernel: one of tokamax's own implementations; None for its choice.
    """
    # Imported where it runs: that takes seconds.
    from tokamax import dot_product_attention

    chosen: Any = kernel
    out = dot_product_attention(
        *request.arrays,
        scale=request.analysis.score.dot_scale,
        is_causal=request.mask is not None,
        implementation=chosen,
    )
    return named_output(out)


def refuse(request: Request) -> str | None:
    """Needs tokamax, a GPU or TPU, and plain causal or full softmax attention."""
    platform = jax.default_backend()
    reason = refusals.other_score(request)
    if reason:
        return reason
    if platform not in ("gpu", "cuda", "tpu"):
        return f"tokamax has kernels for GPUs and TPUs; this is a {platform}."
    if find_spec("tokamax") is None:
        return "tokamax is not installed: it comes with `pip install attention_jax[gpu]`."
    return (
        refusals.mixed_dtypes(request, ("float32", "bfloat16", "float16"), " for tokamax")
        or refusals.empty_arrays(request, "tokamax")
        or refusals.beyond_softmax(request, "tokamax", sums="which gives no exact sums")
        or refusals.beyond_causal(request, "tokamax")
    )


def plan(request: Request) -> Plan:
    """One sum for each row."""
    return Plan("tokamax", temporary_bytes=request.rows * 4)


IMPLEMENTATION = Implementation(
    "tokamax", rank=40, refuse=refuse, prefer=lambda request: None, run=run, plan=plan
)
