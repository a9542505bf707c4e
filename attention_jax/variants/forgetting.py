"""Forgetting attention (FoX): a softmax whose scores are lowered by the forget gates between.

    score[i, j] = q_i . k_j / sqrt(d) + sum_(j < l <= i) log f_l
    f_l = sigmoid(w_h . k_l + bias_h)

The paper computes the forget gate f_l from the layer's input; here it comes from the head's key, a
linear map of that input. Queries must stand within the positions of the keys, for gates beyond are
not known. A key that the mask hides from all queries alike, such as padding, lowers no score.

Reference: Lin et al. 2025, arXiv:2503.02130, section 3.
Cost: t s (d + e) products and t s look-ups a head, and s d for the gates.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, ScoreMod, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders import keywise

ALIASES = ("fox",)


def forgetting() -> Variant:
    """The scaled dot product, lowered by the forget gates between."""

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        checks.attention_arrays(q, k, v)
        keywise.only_causal("forgetting", keywise.is_causal(options.mask))
        at = options.query_offset, options.key_offset
        keywise.inside("forgetting", "where the gates are", q.shape[1], k.shape[1], *at)
        b, s = k.shape[:2]
        visible = keywise.seen_keys(options.mask, batch=b, length=s, offset=options.key_offset)
        sums = jnp.cumsum(_log_forget(params, q, k, visible), axis=-1)
        lower = _lowered(sums, options.key_offset)
        return attention(q, k, v, score_mod=lower, **options._asdict())

    return Variant(init=_init, attend=attend, roles=("causal",))


def _init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
    del kv_heads
    weights = jax.random.normal(key, (heads, head_width)) * head_width**-0.5
    return {"weights": weights, "bias": jnp.zeros(heads)}


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
