"""Forgetting attention (FoX): a softmax whose scores are lowered by the forget gates between.

    score[i, j] = q_i . k_j / sqrt(d) + sum_(j < l <= i) log f_l
    f_l = sigmoid(w_h . k_l + bias_h)

The paper computes the forget gate f_l from the layer's input x, as `gates="input"` does here:

    f_l = sigmoid(w_h . x_l + bias_h)

In the short form it comes from the head's key, a linear map of that input. Queries must stand
within the positions of the keys, for gates beyond are not known. A key that the mask hides from all
queries alike, such as padding, lowers no score.

Reference: Lin et al. 2025, arXiv:2503.02130, section 3.
Cost: t s (d + e) products and t s look-ups a head, and s d for the gates, or s m with
`gates="input"`, of an input of width m, whose state has a number a head beside keys and values.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from attention_jax.core import checks, masks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, ScoreMod, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders import inputs, kept, keywise

ALIASES = ("fox",)


class Cache(NamedTuple):
    """Keys, values and sums of logarithms of gates so far, and the position of the next."""

    k: Float[Array, "b s g d"]
    v: Float[Array, "b s g e"]
    sums: Float[Array, "b s h"]
    position: Int[Array, " b"]


def forgetting(*, gates: str = "key") -> Variant:
    """The scaled dot product, lowered by the forget gates between.

    Args:
      gates: what gates are computed from: "input", of the layer, as in the paper, or "key".
    """
    checks.one_of("gates", gates, ("input", "key"))
    if gates == "key":
        return Variant(init=_init, attend=_attend, roles=("causal",))
    made = Variant(_init_inputs, _attend_by_input, _start, _step, roles=("causal",))
    return made._replace(features=_of_input)


def _attend(params: Params, q: Array, k: Array, v: Array, options: Options = Options()) -> Output:
    shown = _check(q, k, v, options)
    at = options.query_offset, options.key_offset
    keywise.inside("forgetting", "where the gates are", q.shape[1], k.shape[1], *at)
    log_forget = _log_forget(params, q, k, shown)
    return _lowered_attention(jnp.cumsum(log_forget, axis=-1), q, k, v, options)


def _attend_by_input(
    params: Params, q: Array, k: Array, v: Array, options: Options = Options(), *, features: Array
) -> Output:
    del params
    shown = _check(q, k, v, options)
    at = options.query_offset, options.key_offset
    keywise.aligned("forgetting", q.shape[1], k.shape[1], *at)
    gates = features if shown is None else jnp.where(shown[..., None], features, 0)
    sums = jnp.cumsum(gates.transpose(0, 2, 1), axis=-1)
    return _lowered_attention(sums, q, k, v, options)


def _check(q: Array, k: Array, v: Array, options: Options) -> Bool[Array, "b s"] | None:
    """The keys that the mask shows; None for all of them."""
    checks.attention_arrays(q, k, v)
    keywise.only_causal("forgetting", keywise.is_causal(options.mask))
    b, s = k.shape[:2]
    return keywise.seen_keys(options.mask, batch=b, length=s, offset=options.key_offset)


def _lowered_attention(
    sums: Float[Array, "b h s"], q: Array, k: Array, v: Array, options: Options
) -> Output:
    lower = _lowered(sums, options.key_offset)
    return attention(q, k, v, score_mod=lower, **options._asdict())


def _init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
    del kv_heads
    weights = jax.random.normal(key, (heads, head_width)) * head_width**-0.5
    return {"weights": weights, "bias": jnp.zeros(heads)}


def _init_inputs(
    key: PRNGKeyArray, *, width: int, heads: int, kv_heads: int, head_width: int
) -> dict[str, Array]:
    del kv_heads, head_width
    return {"weights": inputs.linear(key, width, heads), "bias": jnp.zeros(heads)}


def _of_input(params: Params, x: Float[Array, "b t m"]) -> Float[Array, "b t h"]:
    """The logarithms of the gates."""
    wide = x.astype(wide_dtype(x))
    logits = inputs.mapped(params["weights"], wide) + params["bias"].astype(wide.dtype)[None, None]
    return jax.nn.log_sigmoid(logits)


def _log_forget(params: Params, q: Array, k: Array, visible: Any) -> Float[Array, "b h s"]:
    """Each query head's gates at the positions of its keys; 0 where a key is hidden."""
    h, dtype = q.shape[2], wide_dtype(q, k)
    # A key that is not finite makes NaN of the scores it has a part in, and none but those.
    shown = jnp.isfinite(k).all(-1, keepdims=True)
    if visible is not None:
        shown = shown & visible[:, :, None, None]
    keys = jnp.where(shown, k.astype(dtype), 0)
    keys, shown = (jnp.repeat(x, h // k.shape[2], axis=2) for x in (keys, shown))
    weights, bias = params["weights"].astype(dtype), params["bias"].astype(dtype)
    logits = jnp.einsum("hd,bshd->bhs", weights, keys) + bias[None, :, None]
    return jnp.where(shown[..., 0].transpose(0, 2, 1), jax.nn.log_sigmoid(logits), 0)


def _lowered(sums: Float[Array, "b h s"], key_offset: int | Array) -> ScoreMod:
    last = sums.shape[-1] - 1

    def lower(score: Array, b: Array, h: Array, i: Array, j: Array) -> Array:
        # Pairs before the first key are hidden, but still looked up.
        query, key = (jnp.clip(at - key_offset, 0, last) for at in (i, j))
        return score + (sums[b, h, query] - sums[b, h, key]).astype(score.dtype)

    return lower


def _start(
    params: Params, batch: int, length: int, *, heads: int, dtype: Any, **sizes: int
) -> Cache:
    del params
    k, v, at = kept.empty(batch, length, dtype=dtype, **sizes)
    wide = wide_dtype(jax.ShapeDtypeStruct((), dtype))
    return Cache(k, v, jnp.zeros((batch, length, heads), wide), at)


def _step(
    params: Params, state: Cache, q: Array, k: Array, v: Array, *, features: Float[Array, "b h"]
) -> tuple[Cache, Array]:
    del params
    at, rows = state.position, jnp.arange(len(q))
    before = jnp.where(at[:, None] > 0, state.sums[rows, jnp.maximum(at - 1, 0)], 0)
    new = k, v, before + features.astype(before.dtype)
    arrays, room = kept.put(state[:3], new, at)
    sums = arrays[2].transpose(0, 2, 1)

    def lower(score: Array, b: Array, h: Array, i: Array, j: Array) -> Array:
        return score + (sums[b, h, at[b]] - sums[b, h, j]).astype(score.dtype)

    seen = masks.Mask(lambda b, h, i, j: j <= at[b])
    out: Any = attention(q[:, None], *arrays[:2], mask=seen, score_mod=lower)
    return Cache(*arrays, at + 1), jnp.where(room, out[:, 0], jnp.nan)
