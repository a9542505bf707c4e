"""The operator `Attention` of ONNX, opsets 23 to 25, by way of `attention`.

    S = softcap(scale q_i . k_j) + attn_mask[b, h, i, j]
    Y_i = sum_j softmax over visible j of S v_j,    softcap(x) = c tanh(x / c), x where c = 0

The order is that of the operator since its correction of April 2026 (onnx/onnx#7867): a mask is
added after the soft cap, which before let masked keys through. Also by corrections (#8068), a query
that may see no key gives 0, not NaN, and query i stands at position

    p = i + past_sequence_length        with `past_key`
    p = i + nonpad_kv_seqlen[b] - t     with `nonpad_kv_seqlen`
    p = i                               with neither, however many keys there are

With `is_causal` it sees the keys up to p, and with windows those from p - left_window_size to
p + right_window_size. All is computed in float32, or in float64 where an input is that.
"""

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core import checks, masks, normalizers
from attention_jax.core.types import AnyArray, ScoreMod
from attention_jax.engine import onnx_inputs, onnx_masks, reference
from attention_jax.engine.api import attention as attend
from attention_jax.engine.onnx_inputs import swapped
from attention_jax.engine.onnx_masks import Bias
from attention_jax.engine.request import Request, make_request


class Outputs(NamedTuple):
    """Outputs of the operator; both caches are `[b g s d]`, also where inputs have three axes."""

    y: Float[Array, "b h t e"] | Float[Array, "b t h*e"]
    present_key: Float[Array, "b g s d"]
    present_value: Float[Array, "b g s e"]


class ScoredOutputs(NamedTuple):
    """All four outputs of the operator."""

    y: Float[Array, "b h t e"] | Float[Array, "b t h*e"]
    present_key: Float[Array, "b g s d"]
    present_value: Float[Array, "b g s e"]
    qk_matmul_output: Float[Array, "b h t s"]


def attention(
    query: Float[AnyArray, "b h t d"] | Float[AnyArray, "b t width"],
    key: Float[AnyArray, "b g s d"] | Float[AnyArray, "b s key_width"],
    value: Float[AnyArray, "b g s e"] | Float[AnyArray, "b s value_width"],
    attn_mask: Bool[AnyArray, "..."] | Float[AnyArray, "..."] | None = None,
    past_key: Float[AnyArray, "b g p d"] | None = None,
    past_value: Float[AnyArray, "b g p e"] | None = None,
    nonpad_kv_seqlen: Int[AnyArray, " b"] | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int | None = None,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
    left_window_size: int = -1,
    right_window_size: int = -1,
) -> Outputs | ScoredOutputs:
    """The operator, with its inputs in their order and its attributes by their names.

    Args:
      query, key, value: `[b h t d]`, or `[b t h*d]` with both numbers of heads. Query head n reads
        key head n // (h / g).
      attn_mask: True where a pair takes part, or numbers to add, -inf where it does not; in a shape
        that broadcasts to `[b h t s]`. A shorter last axis hides the keys beyond it.
      past_key, past_value: come before `key` and `value`.
      nonpad_kv_seqlen: how many of the keys are there; not along with `past_key`.
      qk_matmul_output_mode: of the fourth output: 0 for `scale q_i . k_j`, 1 for that after the
        soft cap, 2 for S, -inf where hidden, 3 for the weights. Memory is then quadratic. None,
        which stands for a node with three outputs, for no fourth output.
      scale: above 0; 1 / sqrt(d) where None.
      softcap: 0 for none.
      softmax_precision: a `TensorProto.DataType`; the softmax is at least as precise.
      left_window_size, right_window_size: how many positions before and after its own a query sees;
        -1 for all.

    Returns:
      Three outputs, or four with `qk_matmul_output_mode`.

    Raises:
      ValueError: an argument breaks its rule, or asks for what is not computed.

    Reference: onnx.ai/onnx/operators/onnx__Attention.html, and onnx/onnx#7867 and #8068.

    >>> x = jnp.ones((1, 3, 8))
    >>> attention(x, x, x, q_num_heads=2, kv_num_heads=2, is_causal=1).present_key.shape
    (1, 2, 3, 4)
    """
    _check_inputs(query, key, value, past_key, past_value, nonpad_kv_seqlen)
    _check_attributes(is_causal, qk_matmul_output_mode, scale, softcap)
    window = _window(left_window_size, right_window_size)
    named = (("query", query), ("key", key), ("value", value))
    q, k, v = onnx_inputs.heads(named, q_num_heads, kv_num_heads)
    past = 0 if past_key is None else past_key.shape[2]
    k = onnx_inputs.joined("past_key", past_key, k)
    v = onnx_inputs.joined("past_value", past_value, v)
    arrays = onnx_inputs.precise(softmax_precision, q, k, v)
    sizes = (q.shape[0], q.shape[2], q.shape[1], k.shape[1])
    bias = onnx_masks.bias_of(attn_mask, sizes, past)
    order = onnx_masks.order(is_causal, window, nonpad_kv_seqlen, q.shape[1])
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    asked: dict[str, Any] = dict(
        score=lambda q, k: (q * factor) @ k,
        score_mod=_capped(softcap, bias, past),
        mask=masks.both(bias.visible, order),
        query_offset=past,
    )
    out: Any = attend(*arrays, **asked)
    y = out.astype(q.dtype)
    y = swapped(y) if query.ndim == 4 else y.reshape(*y.shape[:2], -1)
    if qk_matmul_output_mode is None:
        return Outputs(y, swapped(k), swapped(v))
    scores = _scores(make_request(*arrays, **asked), qk_matmul_output_mode, softcap, bias)
    return ScoredOutputs(y, swapped(k), swapped(v), scores.astype(q.dtype))


def _scores(request: Request, mode: int, softcap: float, bias: Bias) -> Float[Array, "b h t s"]:
    """The fourth output, by its definition."""
    q, k = (x.astype(request.dtype) for x in request.arrays[:2])
    scores = reference.pair_scores(request.score, q, k)
    if mode and softcap:
        scores = softcap * jnp.tanh(scores / softcap)
    if mode > 1:
        scores = scores if bias.table is None else scores + bias.table.astype(scores.dtype)
        (b, h, t, s), first = scores.shape, request.offsets.query
        starts = zip((0, 0, first, 0), (b, h, t, s), strict=True)
        at = tuple(start + jnp.arange(n, dtype=jnp.int32) for start, n in starts)
        visible = reference.visible_pairs(request.mask, at)
        hidden = jnp.where(visible, scores, -jnp.inf)
        scores = hidden if mode == 2 else normalizers.softmax.weights(scores, visible)
    return scores


def _capped(softcap: float, bias: Bias, past: int) -> ScoreMod | None:
    if not softcap and bias.table is None:
        return None
    add = None if bias.table is None else partial(onnx_masks.at_pair, bias.table, past)

    def change(score: Array, *at: Array) -> Array:
        if softcap:
            score = softcap * jnp.tanh(score / softcap)
        return score if add is None else score + add(*at).astype(score.dtype)

    return change


def _window(left: int, right: int) -> tuple[int, int]:
    for name, size in (("left_window_size", left), ("right_window_size", right)):
        if isinstance(size, bool) or not isinstance(size, int) or size < -1:
            raise ValueError(
                f"`{name}` must be a whole number of positions, or -1 for all; got {size!r}."
            )
    return left, right


def _check_inputs(
    query: AnyArray,
    key: AnyArray,
    value: AnyArray,
    past_key: AnyArray | None,
    past_value: AnyArray | None,
    lengths: AnyArray | None,
) -> None:
    ranks = [jnp.ndim(x) for x in (query, key, value)]
    if ranks not in ([3, 3, 3], [4, 4, 4]):
        raise ValueError(
            f"`query`, `key` and `value` must all have three axes, or all four; got {ranks}."
        )
    if (past_key is None) != (past_value is None):
        given, missing = ("value", "key") if past_key is None else ("key", "value")
        raise ValueError(f"`past_{missing}` must be given along with `past_{given}`; got None.")
    if lengths is None:
        return
    checks.shape("nonpad_kv_seqlen", lengths, "b")
    if past_key is not None:
        raise ValueError(
            "`nonpad_kv_seqlen` must not be given along with `past_key`: either the operator keeps "
            "the cache, or its caller does; got both."
        )
    if lengths.shape != query.shape[:1] or not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise ValueError(
            f"`nonpad_kv_seqlen` must hold a whole number for each of {query.shape[0]} sequences; "
            f"got {lengths.dtype}{list(lengths.shape)}."
        )


def _check_attributes(
    is_causal: int, output_mode: int | None, scale: float | None, softcap: float
) -> None:
    checks.one_of("is_causal", is_causal, (0, 1))
    checks.one_of("qk_matmul_output_mode", output_mode, (None, 0, 1, 2, 3))
    if scale is not None and not scale > 0:
        raise ValueError(f"`scale` must be above 0; got {scale!r}. None is 1 / sqrt(d).")
    if not softcap >= 0:
        raise ValueError(f"`softcap` must be 0, for none, or above; got {softcap!r}.")
