"""The operator `LinearAttention` of ONNX: a state of one matrix a head, updated at each position.

    S_t = exp(g_t) S_{t-1} + b_t k_t (v_t - exp(g_t) S_{t-1}^T k_t)^T    o_t = scale S_t^T q_t

is the update rule "gated_delta"; "delta" has no decay g, "gated" adds `k_t v_t^T` alone, and
"linear" has neither. The variants `linear`, `gated_linear`, `delta` and `gated_delta` make g, b and
their features from keys, and take whole chunks of positions at once; here they are inputs, and one
position follows another. The backward pass computes chunks again from the states between them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import AnyArray
from attention_jax.engine import onnx_inputs

# The inputs beside queries, keys and values that each rule takes.
RULES = {
    "linear": (),
    "gated": ("decay",),
    "delta": ("beta",),
    "gated_delta": ("decay", "beta"),
}


# Queries, keys, values, decay and beta, with a leading axis of positions.
Inputs = tuple[Array, Array, Array, Array | None, Array | None]


class LinearOutputs(NamedTuple):
    """Outputs of the operator."""

    output: Float[Array, "b t h*e"]
    present_state: Float[Array, "b g d e"]


def linear_attention(
    query: Float[AnyArray, "b t width"],
    key: Float[AnyArray, "b t key_width"],
    value: Float[AnyArray, "b t value_width"],
    past_state: Float[AnyArray, "b g d e"] | None = None,
    decay: Float[AnyArray, "b t decays"] | None = None,
    beta: Float[AnyArray, "b t rates"] | None = None,
    *,
    q_num_heads: int,
    kv_num_heads: int,
    update_rule: str = "gated_delta",
    scale: float = 0.0,
    chunk_size: int = 64,
) -> LinearOutputs:
    """The operator, with its inputs in their order and its attributes by their names.

    Args:
      query, key, value: heads side by side; query head n reads key head n // (h / g).
      past_state: the state before the first position; zeros where None.
      decay: logarithms g, `[b t g]`, or `[b t g*d]` with one for each channel of a key.
      beta: strengths b, `[b t g]`, or `[b t 1]` for all heads.
      update_rule: "linear", "gated", "delta" or "gated_delta".
      scale: 0 for 1 / sqrt(d).
      chunk_size: positions between two states that the backward pass keeps; changes no result.

    Returns:
      The output in the query's dtype and the state after the last position, in the dtype of
      `past_state` or else of the query; computed in float32, or in float64 for float64.

    Raises:
      ValueError: an argument breaks its rule, or is not one of the update rule's.

    Reference: onnx.ai/onnx/operators/onnx__LinearAttention.html.
    """
    _check(update_rule, {"decay": decay, "beta": beta})
    checks.positive("chunk_size", chunk_size)
    named = (("query", query), ("key", key), ("value", value))
    for name, x in named:
        checks.shape(name, x, "b t width")
    q, k, v = onnx_inputs.heads(named, q_num_heads, kv_num_heads)
    checks.attention_arrays(q, k, v)
    (b, t, g, d), dtype = k.shape, wide_dtype(q, k, v)
    first = _first_state(past_state, (b, g, d, v.shape[-1]), q)
    if decay is not None:
        decay = _of_heads("decay", decay, (b, t, g), (g, g * d)).reshape(b, t, g, -1)
    if beta is not None:
        beta = jnp.broadcast_to(_of_heads("beta", beta, (b, t, g), (g, 1)), (b, t, g))
    wide = jax.tree.map(lambda x: x.astype(dtype), (q, k, v, decay, beta))
    state, out = _recurrence(first.astype(dtype), wide, min(chunk_size, max(t, 1)))
    out = (scale or d**-0.5) * out
    return LinearOutputs(out.astype(q.dtype).reshape(b, t, -1), state.astype(first.dtype))


def _first_state(past: AnyArray | None, shape: tuple[int, ...], query: Array) -> Array:
    if past is None:
        return jnp.zeros(shape, query.dtype)
    if past.shape != shape:
        raise ValueError(f"`past_state` must be [b g d e] = {list(shape)}; got {list(past.shape)}.")
    return jnp.asarray(past)


def _recurrence(state: Array, inputs: Inputs, chunk: int) -> tuple[Array, Array]:
    """The last state and all outputs `[b t h e]`."""
    t = inputs[0].shape[1]
    count = -(-t // chunk)

    def cut(x: Array) -> Array:
        """`[chunks, positions, b, ...]`; zeros at the end leave the state as it is."""
        x = jnp.pad(x, [(0, 0), (0, count * chunk - t), *[(0, 0)] * (x.ndim - 2)])
        return jnp.moveaxis(x, 1, 0).reshape(count, chunk, x.shape[0], *x.shape[2:])

    @jax.checkpoint
    def body(state: Array, inputs: Inputs) -> tuple[Array, Array]:
        return jax.lax.scan(_step, state, inputs)

    state, out = jax.lax.scan(body, state, jax.tree.map(cut, inputs))
    return state, jnp.moveaxis(out.reshape(count * chunk, *out.shape[2:])[:t], 0, 1)


def _step(state: Float[Array, "b g d e"], inputs: Inputs) -> tuple[Array, Array]:
    q, k, v, decay, beta = inputs
    if decay is not None:
        state = jnp.exp(decay)[..., None] * state
    if beta is not None:
        v = beta[..., None] * (v - jnp.einsum("bgde,bgd->bge", state, k))
    state = state + k[..., None] * v[..., None, :]
    (b, h, d), g = q.shape, k.shape[1]
    out = jnp.einsum("bgrd,bgde->bgre", q.reshape(b, g, h // g, d), state)
    return state, out.reshape(b, h, -1)


def _of_heads(
    name: str, x: AnyArray, sizes: tuple[int, int, int], widths: tuple[int, int]
) -> Array:
    b, t, _ = sizes
    if jnp.shape(x) not in [(b, t, width) for width in widths]:
        raise ValueError(
            f"`{name}` must be {[b, t, widths[0]]} or {[b, t, widths[1]]}; got "
            f"{list(jnp.shape(x))}."
        )
    return jnp.asarray(x)


def _check(update_rule: str, given: dict[str, AnyArray | None]) -> None:
    checks.one_of("update_rule", update_rule, tuple(RULES))
    for name, x in given.items():
        wanted = name in RULES[update_rule]
        if (x is not None) != wanted:
            takes = " and ".join(RULES[update_rule]) or "neither decay nor beta"
            raise ValueError(
                f"`{name}` must be {'given' if wanted else 'None'} for `update_rule` "
                f"{update_rule!r}, which takes {takes}."
            )
