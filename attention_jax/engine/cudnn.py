"""Plain or causal softmax attention on NVIDIA GPUs by cuDNN, through `jax.nn`."""

import jax

from attention_jax.engine import refusals
from attention_jax.engine.implementation import Implementation, Output, Plan, fastest, named_output
from attention_jax.engine.request import Request

# Keys and values that cuDNN takes.
WIDEST = 128


def run(request: Request) -> Output:
    """The softmax of `scale * q . k` by cuDNN.

    Equal to the definition for finite arrays. Under `causal`, a number that is not finite may also
    reach queries that do not see it: within a block cuDNN multiplies what is hidden by 0, and
    0 * NaN is NaN. First derivatives only, in reverse mode only.
    """
    out = jax.nn.dot_product_attention(
        *request.arrays,
        scale=request.analysis.score.dot_scale,
        is_causal=request.mask is not None,
        implementation="cudnn",
    )
    return named_output(out)


def refuse(request: Request) -> str | None:
    """Needs an NVIDIA GPU, half precision, and plain causal or full softmax attention."""
    platform, query, key = jax.default_backend(), request.query, request.key
    d, e = query.shape[-1], request.value.shape[-1]
    reason = refusals.other_score(request)
    if reason:
        return reason
    if platform not in ("gpu", "cuda"):
        return f"cuDNN needs an NVIDIA GPU; this is a {platform}."
    reason = refusals.mixed_dtypes(request, ("bfloat16", "float16"), " for cuDNN")
    if reason:
        return reason
    if d != e or d % 8 or not 0 < d <= WIDEST:
        return (
            "Keys and values must be of one width for cuDNN, a multiple of 8 up to "
            f"{WIDEST}; got {d} and {e}."
        )
    if not all((*query.shape, key.shape[1])):
        return f"cuDNN takes no empty arrays; got {query.shape} and {key.shape}."
    return refusals.beyond_softmax(
        request, "cuDNN", sums="which gives no exact sums"
    ) or refusals.beyond_causal(request, "cuDNN")


def plan(request: Request) -> Plan:
    """One sum for each row."""
    return Plan("cudnn", temporary_bytes=request.rows * 4)


IMPLEMENTATION = Implementation("cudnn", rank=10, refuse=refuse, prefer=fastest, run=run, plan=plan)
