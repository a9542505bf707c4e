"""Logits of the next token: the largest of them, and those that may be sampled."""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attention_jax.data.types import EOS
from attention_jax.decoding.types import pick_rows


def without_special(logits: Float[Array, "b v"]) -> Float[Array, "b v"]:
    """The logits, -inf at PAD and BOS."""
    return jnp.where(jnp.arange(logits.shape[-1])[None] >= EOS, logits, -jnp.inf)


def kept(
    logits: Float[Array, "b v"],
    top_k: int | None,
    top_p: float | None,
    min_p: float | None = None,
) -> tuple[Float[Array, "b c"], Int[Array, "b c"] | None]:
    """Logits that may be sampled, in order, and their tokens; None stands for all tokens."""
    if top_p == 1.0:
        top_p = None
    if top_k is None and top_p is None:
        return _probable(logits, min_p), None
    logits, tokens = largest(logits, logits.shape[-1] if top_k is None else top_k)
    if top_p is not None:
        share = jax.nn.softmax(logits, axis=-1)
        share_before = jnp.cumsum(share, axis=-1) - share
        logits = jnp.where(share_before < top_p, logits, -jnp.inf)
    return _probable(logits, min_p), tokens


def _probable(logits: Float[Array, "b c"], min_p: float | None) -> Float[Array, "b c"]:
    """The logits, -inf where the probability is below `min_p` times the largest."""
    if min_p is None:
        return logits
    least = logits.max(axis=-1, keepdims=True) + math.log(min_p)
    return jnp.where(logits < least, -jnp.inf, logits)


def largest(x: Float[Array, "b v"], k: int) -> tuple[Float[Array, "b c"], Int[Array, "b c"]]:
    """The `min(k, v)` largest of each row and their indices, as `lax.top_k`, but faster on CPU.

    The k largest lie in the k groups of the largest maxima, so only those groups are searched.
    """
    b, v = x.shape
    size = _group_size(v)
    groups = -(-v // size)
    if k >= groups:
        return tuple(lax.top_k(x, min(k, v)))
    if v % size:
        x = jnp.pad(x, ((0, 0), (0, groups * size - v)), constant_values=-jnp.inf)
    x = x.reshape(b, groups, size)
    _, group = lax.top_k(x.max(axis=-1), k)
    best, choice = lax.top_k(pick_rows(x, group).reshape(b, k * size), k)
    index = jnp.take_along_axis(group, choice // size, axis=1) * size + choice % size
    return best, jnp.minimum(index, v - 1)  # among ties at -inf, padding may have been chosen


def _group_size(v: int) -> int:
    """The root of v, or the next smaller divisor that is not far: then nothing is padded."""
    root = math.isqrt(v)
    return next((n for n in range(root, root // 2, -1) if v % n == 0), root)
