"""Forgetting attention (FoX): a softmax whose scores are lowered by the forget gates between.

    score[i, j] = q_i . k_j / sqrt(d) + sum_(j < l <= i) log f_l
    f_l = sigmoid(w_h . x_l + bias_h)                          x: the layer's input

In the short form, `gates="key"`, the forget gate comes from the head's key, a linear map of that
input; there queries must stand within the positions of the keys, for gates beyond are not known. A
key that the mask hides from all queries alike, such as padding, lowers no score.

Reference: Lin et al. 2025, arXiv:2503.02130, section 3.
Cost: t s (d + e) products and t s look-ups a head, and s m for the gates, of an input of width m;
state: keys and values, and a number a head of each position. With `gates="key"` s d for the gates.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, Variant
from attention_jax.engine.context_layout import layout_of
from attention_jax.variants._builders import forget_gates, inputs, kept, keywise

ALIASES = ("fox",)


def forgetting(*, gates: str = "input") -> Variant:
    """The scaled dot product, lowered by the forget gates between.

    Args:
      gates: what gates are computed from: "input", of the layer, or "key".
    """
    checks.one_of("gates", gates, ("input", "key"))
    if gates == "key":
        return Variant(init=_init, attend=_attend, roles=("causal",))
    return Variant(
        _init_inputs,
        _attend_by_input,
        forget_gates.start,
        kept.step_of(forget_gates.extend),
        roles=("causal",),
        divides=True,
        features=_of_input,
        extend=forget_gates.extend,
    )


def _attend(params: Params, q: Array, k: Array, v: Array, options: Options = Options()) -> Output:
    shown = _check(q, k, v, options)
    at = options.query_offset, options.key_offset
    keywise.inside("forgetting", "where the gates are", q.shape[1], k.shape[1], *at)
    log_forget = _log_forget(params, q, k, shown)
    return forget_gates.attend(jnp.cumsum(log_forget, axis=-1), q, k, v, options)


def _attend_by_input(
    params: Params, q: Array, k: Array, v: Array, options: Options = Options(), *, features: Array
) -> Output:
    del params
    shown = _check(q, k, v, options)
    at = options.query_offset, options.key_offset
    keywise.aligned("forgetting", q.shape[1], k.shape[1], *at)
    if options.context is not None:
        features = layout_of(options.context).gathered(features)
    gates = features if shown is None else jnp.where(shown[..., None], features, 0)
    sums = jnp.cumsum(gates.transpose(0, 2, 1), axis=-1)
    return forget_gates.attend(sums, q, k, v, options)


def _check(q: Array, k: Array, v: Array, options: Options) -> Bool[Array, "b s"] | None:
    """The keys that the mask shows; None for all of them."""
    checks.attention_arrays(q, k, v)
    keywise.only_causal("forgetting", keywise.is_causal(options.mask))
    b, s = k.shape[:2]
    if options.context is not None:
        s = layout_of(options.context).whole(s)
    return keywise.seen_keys(options.mask, batch=b, length=s, offset=options.key_offset)


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
