"""Addressing of a neural Turing machine: by content, or by a shift from the last location.

    content_i = softmax over visible j of strength_i cos(q_i, k_j)
    mixed_i = gate_i content_i + (1 - gate_i) weight_(i-1)
    moved_i[j] = sum_m shift_i[m] mixed_i[j - m]        around the end to the beginning
    weight_i[j] = moved_i[j]^sharpness_i / sum_n moved_i[n]^sharpness_i

It gives up queries that are computed at once: they follow one another. Where the paper's
controller emits strength, gate, shift and sharpness, here linear maps of the head's query do, one
set a head: through a softplus, a sigmoid, a softmax, and 1 plus a softplus. Before the first query
there are no weights, so it reads by content alone. Steps count visible keys only.

Reference: Graves et al. 2014, arXiv:1410.5401, equations 5 to 9.
Cost: t s (d + 2 reach + e) products a head; t s numbers held.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from attention_jax.core import checks, normalizers, scores
from attention_jax.core.types import Params, Variant
from attention_jax.engine.reference import pair_scores
from attention_jax.variants._builders.stateful import from_weights

ALIASES = ("ntm",)

CONTROLS = ("strength", "gate", "shift", "sharpness")


def neural_turing(*, reach: int = 1) -> Variant:
    """Content and location addressing.

    Args:
      reach: the longest step, either way; with the paper's 1 a head stays, or goes one on or back.
    """
    checks.positive("reach", reach)

    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Any]:
        del kv_heads
        params = {}
        for name, own in zip(CONTROLS, jax.random.split(key, len(CONTROLS)), strict=True):
            size = 2 * reach + 1 if name == "shift" else 1
            drawn = jax.random.normal(own, (heads, head_width, size))
            params[name] = {"w": head_width**-0.5 * drawn, "b": jnp.zeros((heads, size))}
        return params

    return from_weights("neural_turing", _weigh, init=init)


def _weigh(
    params: Params, last: Array, q: Array, k: Array, visible: Array, key: Any
) -> tuple[Array, Array]:
    del key
    strength, gate, shift, sharpness = (_control(params[name], q) for name in CONTROLS)
    alike = pair_scores(scores.cosine(), q[:, None], k)[:, :, 0]
    content = _softmax(jax.nn.softplus(strength) * alike, visible[:, None])
    gate = jax.nn.sigmoid(gate)
    mixed = gate * content + (1 - gate) * last
    moved = _moved(mixed, jax.nn.softmax(shift), visible)
    # In logarithms, so that no power of a small weight vanishes before it is divided.
    taken = visible[:, None] & (moved > jnp.finfo(moved.dtype).tiny)
    logs = jnp.log(jnp.where(taken, moved, 1))
    weights = _softmax((1 + jax.nn.softplus(sharpness)) * logs, taken)
    return weights, weights


def _control(params: Params, q: Float[Array, "b h d"]) -> Float[Array, "b h n"]:
    w, b = (params[name].astype(q.dtype) for name in ("w", "b"))
    return jnp.einsum("bhd,hdn->bhn", q, w) + b[None]


def _moved(
    weights: Float[Array, "b h s"], shift: Float[Array, "b h n"], visible: Bool[Array, "b s"]
) -> Float[Array, "b h s"]:
    """A mean of the weights moved by -reach to reach visible keys, around the end."""
    sources = _sources(visible, shift.shape[-1] // 2)
    moved = jnp.take_along_axis(weights[..., None], sources[:, None], axis=2)
    return jnp.einsum("bhsn,bhn->bhs", moved, shift)


def _sources(visible: Bool[Array, "b s"], reach: int) -> Int[Array, "b s n"]:
    """For each key and each step, the visible key from where that step leads to it."""
    order = jnp.argsort(~visible, axis=-1, stable=True)
    place = jnp.cumsum(visible, axis=-1, dtype=jnp.int32) - 1
    count = jnp.maximum(visible.sum(-1, dtype=jnp.int32), 1)
    steps = jnp.arange(-reach, reach + 1, dtype=jnp.int32)
    places = (place[..., None] - steps[None, None]) % count[:, None, None]
    return jnp.take_along_axis(order[..., None], places, axis=1)


def _softmax(logits: Array, visible: Bool[Array, "b n s"]) -> Float[Array, "b h s"]:
    return normalizers.softmax.weights(logits[:, :, None], visible[:, :, None])[:, :, 0]
