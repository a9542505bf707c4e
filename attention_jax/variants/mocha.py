"""Monotonic chunkwise attention (MoChA): a walk along the keys that reads the last few at a stop.

    place[i, n] = the probability that query i stops at key n, as in `monotonic`
    weight[i, j] = sum_(n = j)^(j + chunk - 1) place[i, n] softmax_(n - chunk < j <= n)(u[i, j])
    u[i, j] = w' . tanh(W_q' q_i + W_k' k_j + b')

Given a `dropout_key`, as in training, places are probabilities, with noise. Without one a query
stops at the first key with stop > 1/2 and reads the `chunk` keys up to it, from it backwards.

It gives up reading against the order of the keys, but for the steps back within a chunk. A query
that stops nowhere gives 0, and so do all after it. Hidden keys are passed by; in a chunk they keep
their places, with weight 0. Both hidden layers are shared by all heads. The softmax is taken in
each chunk by itself, where the paper divides sums of exponentials of the whole row.

Reference: Chiu & Raffel 2017, arXiv:1712.05382, section 2.3 and algorithm 1.
Cost: twice (t + s) d a + t s (2 a tanh + log2(s) + chunk + e) a head, for hidden layers of width a;
t s numbers held.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from attention_jax.core import checks, normalizers
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders.stateful import (
    additive_energy,
    at_first,
    from_weights,
    init_additive_energy,
    init_stopping_probability,
    monotonic,
    stopping_probability,
)


def mocha(
    *,
    chunk: int = 2,
    width: int | None = None,
    hard: bool = True,
    noise: float = 1.0,
    bias: float = -1.0,
) -> Variant:
    """A walk along the keys that reads a chunk at each stop.

    Args:
      chunk: how many keys are read; 1 for `monotonic`. The default is the paper's for speech.
      width: of the hidden layers; None for that of the heads.
      hard: without a `dropout_key`, whether each query reads one chunk, as the paper does after
        training; False for the probabilities then too, without noise.
      noise: the standard deviation of what is added with a `dropout_key`; at least 0.
      bias: where r starts; the lower, the further a query goes before it stops.
    """
    checks.positive("chunk", chunk)
    if width is not None:
        checks.positive("width", width)
    if not noise >= 0:
        raise ValueError(f"`noise` must be at least 0; got {noise!r}.")

    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Any]:
        del heads, kv_heads
        key_walk, key_chunk = jax.random.split(key)
        return {
            "walk": init_stopping_probability(key_walk, head_width, width, bias),
            "chunk": init_additive_energy(key_chunk, head_width, width),
        }

    def weigh(
        params: Params, past: Array, q: Array, k: Array, visible: Array, key: Any
    ) -> tuple[Array, Array]:
        stop = stopping_probability(params["walk"], q, k, visible, key, hard=hard, noise=noise)
        places = monotonic(past, stop)
        return places, spread(places, additive_energy(params["chunk"], q, k), visible, chunk)

    return from_weights("mocha", weigh, init=init, before=at_first, stochastic=True)


def spread(
    places: Float[Array, "b h s"],
    scores: Float[Array, "b h s"],
    visible: Bool[Array, "b s"],
    chunk: int,
) -> Float[Array, "b h s"]:
    """Shares out what lies at each key among the `chunk` keys that end there."""
    s = places.shape[-1]
    back = jnp.arange(min(chunk, s))[None]
    at = jnp.arange(s)[:, None] - back
    inside = (at >= 0)[None, None] & visible[:, jnp.maximum(at, 0)][:, None]
    shares = normalizers.softmax.weights(scores[..., jnp.maximum(at, 0)], inside)
    given = places[..., None] * shares
    # What key j gets: from each chunk that ends at j + n, the share of its n-th key from the end.
    at = jnp.arange(s)[:, None] + back
    got = given[:, :, jnp.minimum(at, s - 1), jnp.broadcast_to(back, at.shape)]
    return jnp.where((at < s)[None, None], got, 0).sum(-1)
