"""The operator `Attention` of ONNX, opsets 23 and 24, by way of `attention`.

    S = softcap(scale q_i . k_j) + attn_mask[b, h, i, j]
    Y_i = sum_j softmax over visible j of S v_j,    softcap(x) = c tanh(x / c), x where c = 0

The order is that of the operator since its correction of April 2026 (onnx/onnx#7867): a mask is
added after the soft cap, which before let masked keys through. Also by corrections (#8068), a query
that may see no key gives 0, not NaN, and with `is_causal` query i sees the keys up to

    i + past_sequence_length        with `past_key`
    i + nonpad_kv_seqlen[b] - t     with `nonpad_kv_seqlen`
    i                               with neither, however many keys there are

It differs from the operator in two ways: all is computed in float32, or in float64 where an input
is that; and there is no fourth output, `qk_matmul_output`, as the scores are not held.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core import checks, masks
from attention_jax.core.types import MaskFunction, ScoreMod
from attention_jax.engine.api import attention as attend

# The numbers of `TensorProto.DataType`.
FLOAT, FLOAT16, DOUBLE, BFLOAT16 = 1, 10, 11, 16


class Outputs(NamedTuple):
    """Outputs of the operator; both caches are `[b g s d]`, also where inputs have three axes."""

    y: Float[Array, "b h t e"] | Float[Array, "b t h*e"]
    present_key: Float[Array, "b g s d"]
    present_value: Float[Array, "b g s e"]


def attention(
    query: Float[Array, "b h t d"] | Float[Array, "b t width"],
    key: Float[Array, "b g s d"] | Float[Array, "b s key_width"],
    value: Float[Array, "b g s e"] | Float[Array, "b s value_width"],
    attn_mask: Bool[Array, "..."] | Float[Array, "..."] | None = None,
    past_key: Float[Array, "b g p d"] | None = None,
    past_value: Float[Array, "b g p e"] | None = None,
    nonpad_kv_seqlen: Int[Array, " b"] | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
) -> Outputs:
    """The operator, with its inputs in their order and its attributes by their names.

    Args:
      query, key, value: `[b h t d]`, or `[b t h*d]` with both numbers of heads. Query head n reads
        key head n // (h / g).
      attn_mask: True where a pair takes part, or numbers to add, -inf where it does not; in a shape
        that broadcasts to `[b h t s]`. A shorter last axis hides the keys beyond it.
      past_key, past_value: come before `key` and `value`.
      nonpad_kv_seqlen: how many of the keys are there; not along with `past_key`.
      scale: above 0; 1 / sqrt(d) where None.
      softcap: 0 for none.
      softmax_precision: a `TensorProto.DataType`; the softmax is at least as precise.
      qk_matmul_output_mode: 0, as the scores are not returned.

    Raises:
      ValueError: an argument breaks its rule, or asks for what is not computed.

    Reference: onnx.ai/onnx/operators/onnx__Attention.html, and onnx/onnx#7867 and #8068.

    >>> x = jnp.ones((1, 3, 8))
    >>> attention(x, x, x, q_num_heads=2, kv_num_heads=2, is_causal=1).present_key.shape
    (1, 2, 3, 4)
    """
    _check_inputs(query, key, value, past_key, past_value, nonpad_kv_seqlen)
    _check_attributes(is_causal, qk_matmul_output_mode, scale, softcap, softmax_precision)
    q = _by_position("query", query, "q_num_heads", q_num_heads)
    k = _by_position("key", key, "kv_num_heads", kv_num_heads)
    v = _by_position("value", value, "kv_num_heads", kv_num_heads)
    past = 0 if past_key is None else past_key.shape[2]
    k, v = _joined("past_key", past_key, k), _joined("past_value", past_value, v)
    if softmax_precision == DOUBLE and jnp.float64 not in (q.dtype, k.dtype, v.dtype):
        raise ValueError(
            f"`softmax_precision` {DOUBLE} (double) needs an input of float64, which sets the "
            f"precision of all; got {q.dtype}. Convert `query` with `.astype(jnp.float64)`."
        )
    bias = visible = None
    if attn_mask is not None:
        bias, visible = _mask(attn_mask, (q.shape[0], q.shape[2], q.shape[1], k.shape[1]), past)
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    out: Any = attend(
        q,
        k,
        v,
        score=lambda q, k: (q * factor) @ k,
        score_mod=_capped(softcap, bias),
        mask=masks.both(visible, _order(is_causal, nonpad_kv_seqlen, q.shape[1])),
        query_offset=past,
    )
    y = _swapped(out) if query.ndim == 4 else out.reshape(*out.shape[:2], -1)
    return Outputs(y, _swapped(k), _swapped(v))


def _by_position(name: str, x: Array, of_heads: str, heads: int | None) -> Array:
    """`[b n heads d]` of either form."""
    if x.ndim == 4:
        if heads not in (None, x.shape[1]):
            raise ValueError(
                f"`{of_heads}` must be the length of axis 1 of `{name}`; got {heads} for shape "
                f"{x.shape}. It can be left out."
            )
        return _swapped(x)
    if heads is None:
        raise ValueError(
            f"`{of_heads}` must be given where inputs have three axes; got None for `{name}` of "
            f"shape {x.shape}."
        )
    checks.positive(of_heads, heads)
    checks.divides(of_heads, heads, f"width of {name}", x.shape[2])
    return x.reshape(*x.shape[:2], heads, -1)


def _swapped(x: Array) -> Array:
    """`[b h t d]` of `[b t h d]`, and the other way round."""
    return x.transpose(0, 2, 1, 3)


def _joined(name: str, past: Array | None, new: Array) -> Array:
    """The past `[b g p d]` and the new `[b s g d]`."""
    if past is None:
        return new
    b, _, g, d = new.shape
    if past.shape != (b, g, past.shape[2], d):
        raise ValueError(
            f"`{name}` must be [b g p d] = [{b}, {g}, p, {d}], as what follows it; got shape "
            f"{past.shape}."
        )
    return jnp.concatenate([_swapped(past), new], axis=1)


def _mask(
    attn_mask: Array, sizes: tuple[int, ...], past: int
) -> tuple[Callable[..., Array] | None, MaskFunction]:
    """The bias at (b, h, i, j), if there is one, and the visible pairs."""
    table = jnp.reshape(attn_mask, (1,) * (4 - attn_mask.ndim) + attn_mask.shape)
    *outer, last = zip(table.shape, sizes, strict=False)
    if (
        table.ndim > 4
        or any(n not in (1, size) for n, size in outer)
        or not (1 < last[0] <= last[1] or last == (1, 1))
    ):
        raise ValueError(
            f"`attn_mask` must broadcast to [b h t s] = {list(sizes)}, or have a shorter last "
            "axis, but not of 1, which opset 23 repeats and opset 24 fills up with -inf; got "
            f"shape {attn_mask.shape}. Repeat it, or fill it up, by hand."
        )
    numbers = table.dtype != jnp.bool_
    if numbers:
        checks.floating("attn_mask", table)
    shown = masks.from_array(table != -jnp.inf if numbers else table)
    visible = masks.Mask(lambda b, h, i, j: shown(b, h, i - past, j))
    if not numbers:
        return None, visible
    finite = jnp.where(table == -jnp.inf, 0, table)

    def bias(b: Array, h: Array, i: Array, j: Array) -> Array:
        at = (0 if n == 1 else x for n, x in zip(table.shape, (b, h, i - past, j), strict=True))
        return finite.at[tuple(at)].get(mode="fill", fill_value=0)

    return bias, visible


def _capped(softcap: float, bias: Callable[..., Array] | None) -> ScoreMod | None:
    if not softcap and bias is None:
        return None

    def change(score: Array, *at: Array) -> Array:
        if softcap:
            score = softcap * jnp.tanh(score / softcap)
        return score if bias is None else score + bias(*at).astype(score.dtype)

    return change


def _order(is_causal: int, lengths: Array | None, queries: int) -> MaskFunction | None:
    """The causal and the padding mask."""
    if lengths is None:
        return masks.causal if is_causal else None
    shown = masks.lengths(lengths)
    if not is_causal:
        return shown
    return shown & masks.Mask(lambda b, h, i, j: j <= i + lengths[b] - queries)


def _check_inputs(
    query: Array,
    key: Array,
    value: Array,
    past_key: Array | None,
    past_value: Array | None,
    lengths: Array | None,
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
    is_causal: int, output_mode: int, scale: float | None, softcap: float, precision: int | None
) -> None:
    checks.one_of("is_causal", is_causal, (0, 1))
    if output_mode:
        raise ValueError(
            "`qk_matmul_output_mode` must be 0: scores are not held, so none are returned; got "
            f"{output_mode}. With unit vectors as values the output is the weights (mode 3)."
        )
    if scale is not None and not scale > 0:
        raise ValueError(f"`scale` must be above 0; got {scale!r}. None is 1 / sqrt(d).")
    if not softcap >= 0:
        raise ValueError(f"`softcap` must be 0, for none, or above; got {softcap!r}.")
    checks.one_of("softmax_precision", precision, (None, FLOAT, FLOAT16, DOUBLE, BFLOAT16))
