"""Additive attention with coverage: the score sees how much of each key was read before.

    covered_i[j] = sum_(n < i) weight[n, j]
    score[i, j] = w . tanh(W_q q_i + W_k k_j + w_c covered_i[j] + b)
    weight[i, j] = softmax over visible j of score[i, j]

It gives up queries that are computed at once: they follow one another. Each head has a coverage of
its own; the hidden layer is shared by all. Before training w_c is 0, so it starts as additive
attention. `coverage_loss` is the paper's penalty, for a loss of your own.

Reference: See et al. 2017, arXiv:1704.04368, equations 10 to 12.
Cost: (t + s) d a + t s (a tanh + e) a head, for a hidden layer of width a; t s numbers held.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks, normalizers
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders.stateful import (
    additive_energy,
    from_weights,
    init_additive_energy,
)


def coverage(*, width: int | None = None) -> Variant:
    """The score of a hidden layer that sees what was read.

    Args:
      width: of the hidden layer; None for that of the heads.
    """
    if width is not None:
        checks.positive("width", width)

    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del heads, kv_heads
        own = init_additive_energy(key, head_width, width)
        return own | {"w_c": jnp.zeros_like(own["w"])}

    return from_weights("coverage", _weigh, init=init)


def _weigh(
    params: Params, covered: Array, q: Array, k: Array, visible: Array, key: Any
) -> tuple[Array, Array]:
    del key
    w_c = params["w_c"].astype(q.dtype)
    scores = additive_energy(params, q, k, covered[..., None] * w_c[None, None, None])
    weights = normalizers.softmax.weights(scores[:, :, None], visible[:, None, None])[:, :, 0]
    return covered + weights, weights


def coverage_loss(weights: Float[Array, "b t h s"]) -> Float[Array, "b t h"]:
    """Coverage loss: the share that each query reads of what was read before, of any weights.

        loss_i = sum_j min(weight[i, j], covered_i[j])

    Args:
      weights: as `attend` gives them where the values are unit vectors.

    Reference: See et al. 2017, arXiv:1704.04368, equation 12.

    >>> twice_the_same = jnp.array([[[[1.0, 0.0]], [[1.0, 0.0]]]])
    >>> coverage_loss(twice_the_same).tolist()
    [[[0.0], [1.0]]]
    """
    covered = jnp.cumsum(weights, axis=1) - weights
    return jnp.minimum(weights, covered).sum(-1)
