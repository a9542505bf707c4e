"""Attention by other libraries: cuDNN through `jax.nn`, and tokamax where it is installed.

Each has what it refuses beside it. Both compute the plain softmax of dot products, causal or not,
and have first derivatives in reverse mode only.
"""

from importlib.util import find_spec
from typing import Any

import jax
from jaxtyping import Array, Float

from attention_jax.core import masks
from attention_jax.core.numerics import Offset
from attention_jax.core.types import Like, MaskFunction, ScoreMod

# Keys and values that cuDNN takes.
CUDNN_WIDEST = 128


def cudnn_refusal(
    query: Like,
    key: Like,
    value: Like,
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
    return plain_refusal(
        "cuDNN",
        (t, s),
        score_mod=score_mod,
        mask=mask,
        normalizer_is_softmax=normalizer_is_softmax,
        dropout_rate=dropout_rate,
        offsets=(query_offset, key_offset),
        return_lse=return_lse,
    )


def plain_refusal(
    name: str,
    lengths: tuple[int, int],
    *,
    score_mod: ScoreMod | None,
    mask: MaskFunction | None,
    normalizer_is_softmax: bool,
    dropout_rate: float,
    offsets: tuple[Offset, Offset],
    return_lse: bool,
) -> str | None:
    """Why a kernel for plain softmax attention, causal or not, cannot honour a request."""
    refusal = extras_refusal(
        name,
        score_mod=score_mod,
        normalizer_is_softmax=normalizer_is_softmax,
        dropout_rate=dropout_rate,
        return_lse=return_lse,
        sums="which gives no exact sums",
    )
    if refusal:
        return refusal
    if mask is not None and mask is not masks.causal:
        return f"`mask` must be None or `masks.causal` for {name}."
    known = all(isinstance(x, int) for x in offsets)
    if mask is not None and not (lengths[0] == lengths[1] and known and len(set(offsets)) == 1):
        return (
            f"With `masks.causal`, {name} needs as many queries as keys, which begin at the same "
            f"known position; got {lengths[0]} and {lengths[1]}, at {offsets[0]} and {offsets[1]}."
        )
    return None


def extras_refusal(
    name: str,
    *,
    score_mod: ScoreMod | None,
    normalizer_is_softmax: bool,
    dropout_rate: float,
    return_lse: bool,
    sums: str,
) -> str | None:
    """Why a kernel for nothing but the softmax of scores cannot honour a request.

    Args:
      sums: why it returns no log-sum-exp, for the error.
    """
    if not normalizer_is_softmax:
        return f"`normalizer` must be the softmax for {name}."
    if score_mod is not None:
        return f"`score_mod` must be None for {name}."
    if dropout_rate:
        return f"`dropout_rate` must be 0 for {name}; got {dropout_rate}."
    if return_lse:
        return f"`return_lse` must be False for {name}, {sums}."
    return None


def tokamax_refusal(
    query: Like, key: Like, value: Like, *, platform: str, **plain: Any
) -> str | None:
    """Why `tokamax` cannot honour a request; None where it can."""
    dtypes = {str(x.dtype) for x in (query, key, value)}
    if platform not in ("gpu", "cuda", "tpu", "xla"):
        return f"tokamax has kernels for GPUs and TPUs; this is a {platform}."
    if find_spec("tokamax") is None:
        return "tokamax is not installed: it comes with `pip install attention_jax[gpu]`."
    if len(dtypes) > 1 or dtypes.isdisjoint(("float32", "bfloat16", "float16")):
        return (
            "`query`, `key` and `value` must be all float32, bfloat16 or float16 for tokamax; "
            f"got {', '.join(sorted(dtypes))}."
        )
    if not all((*query.shape, *value.shape)):
        return f"tokamax takes no empty arrays; got {query.shape} and {value.shape}."
    offsets = plain.pop("query_offset"), plain.pop("key_offset")
    return plain_refusal("tokamax", (query.shape[1], key.shape[1]), offsets=offsets, **plain)


def tokamax(
    query: Float[Array, "b t h d"],
    key: Float[Array, "b s g d"],
    value: Float[Array, "b s g e"],
    *,
    scale: float,
    causal: bool,
    kernel: str | None = None,
) -> Float[Array, "b t h e"]:
    """The softmax of `scale * q . k` by the kernels of the tokamax library.

    Holds for numbers that are not finite what `cudnn` says. First derivatives only.

    Args:
      kernel: one of tokamax's own implementations; None for its choice.
    """
    # Imported where it runs: that takes seconds.
    from tokamax import dot_product_attention

    chosen: Any = kernel
    return dot_product_attention(
        query, key, value, scale=scale, is_causal=causal, implementation=chosen
    )


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
