"""Normalizers whose rows can be computed in parts, each of some keys alone, and merged.

A softmax of all keys is a mean of the softmaxes of its parts, weighted by their sums; a sigmoid and
a ReLU are sums over keys, once the number of visible keys is known:

    out = sum_n exp(lse_n - lse) out_n      lse = log sum_n exp(lse_n)            out = sum_n out_n
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attention_jax.core import normalizers, online_normalizers
from attention_jax.core.normalizers import Normalizer
from attention_jax.core.online_normalizers import Online, no_row


class Merge(NamedTuple):
    """How the parts of a row make the whole.

    Attributes:
      part: the normalizer of a part.
      by_lse: whether parts are weighted by their sums of exponentials; else they are added.
      count: what is done with the number of visible keys: the sum is divided by it, or its
        logarithm is taken from each logit before.
    """

    part: Normalizer
    by_lse: bool = False
    count: Literal["divides", "lowers"] | None = None


class Part(NamedTuple):
    """Output and log-sum-exp, which is None where parts are added."""

    out: Float[Array, "b t h e"]
    lse: Float[Array, "b t h"] | None


def merge_of(normalizer: Normalizer) -> Merge | None:
    """How its parts merge; None for a normalizer that needs whole rows."""
    form = normalizer.online
    if form is None:
        return None
    if form._replace(after=None) == online_normalizers.SOFTMAX:
        return Merge(normalizers.softmax, by_lse=True)
    if form == online_normalizers.RELU:
        return Merge(RELU_SUM, count="divides")
    if form == online_normalizers.SIGMOID_OF_COUNT:
        return Merge(normalizers.sigmoid(0.0), count="lowers")
    if form._replace(before=None) == online_normalizers.SIGMOID:
        return Merge(normalizer)
    return None


def merged(first: Part, second: Part) -> Part:
    """Two parts as one; differentiable, also where a part sees nothing."""
    if first.lse is None or second.lse is None:
        return Part(first.out + second.out, None)
    high = jax.lax.stop_gradient(jnp.maximum(first.lse, second.lse))
    high = jnp.where(high == -jnp.inf, 0, high)
    one, other = jnp.exp(first.lse - high), jnp.exp(second.lse - high)
    total = jnp.where(one + other == 0, 1, one + other)
    out = first.out * (one / total)[..., None] + second.out * (other / total)[..., None]
    return Part(out, jnp.where(one + other == 0, -jnp.inf, high + jnp.log(total)))


def moved(part: Part, move: Part, whole: Part) -> Part:
    """The tangents of the whole, of those of one part."""
    if part.lse is None or move.lse is None or whole.lse is None:
        return move
    share, by_lse = _share(part.lse, whole.lse), move.lse[..., None] * (part.out - whole.out)
    return Part(share[..., None] * (move.out + by_lse), share * move.lse)


def to_pull(given: Part, whole: Part) -> Part:
    """Of the cotangents of the whole, what `pulled` needs: its output need not stay."""
    if given.lse is None:
        return given
    return Part(given.out, given.lse - (given.out * whole.out).sum(-1))


def pulled(part: Part, given: Part, lse: Array | None) -> Part:
    """The cotangents of one part, of those of the whole after `to_pull`.

    Args:
      lse: of the whole.
    """
    if part.lse is None or given.lse is None or lse is None:
        return given
    share = _share(part.lse, lse)
    out = share[..., None] * given.out
    return Part(out, (out * part.out).sum(-1) + share * given.lse)


def _share(part: Array, whole: Array) -> Float[Array, "b t h"]:
    """Share of a part in the whole, of the log-sum-exp of both."""
    return jnp.exp(part - jnp.where(whole == -jnp.inf, 0, whole))


def _relu_weights(logits: Array, visible: Array) -> Array:
    return jnp.where(visible, jax.nn.relu(logits), 0)


def _relu_weight(x: Array, row: Any, keys: Array) -> Array:
    return jax.nn.relu(x)


def _relu_derivative(x: Array, p: Array, row: Any) -> Array:
    return (x > 0).astype(p.dtype)


def _ones(logits: Array, visible: Array) -> Array:
    return jnp.broadcast_to(visible, logits.shape).astype(logits.dtype)


def _one(x: Array, row: Any, keys: Array) -> Array:
    return (x > -jnp.inf).astype(x.dtype)


def _zero(x: Array, p: Array, row: Any) -> Array:
    return jnp.zeros_like(p)


RELU_SUM = Normalizer(
    "relu", _relu_weights, online=Online(no_row, _relu_weight, _relu_derivative, sums_to_one=False)
)
"""`max(x_j, 0)`, divided by nothing."""

COUNT = Normalizer("count", _ones, online=Online(no_row, _one, _zero, sums_to_one=False))
"""1 for each visible key."""
