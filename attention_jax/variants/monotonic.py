"""Monotonic attention: a walk along the keys that never turns back, for online decoding.

    stop[i, j] = sigmoid(g w . tanh(W_q q_i + W_k k_j + b) / |w| + r + noise)
    come[i, j] = (1 - stop[i, j-1]) come[i, j-1] + weight[i-1, j]
    weight[i, j] = stop[i, j] come[i, j]

From the key where the last query stopped, a query goes on until it stops; `weight` is the
probability that it does so there. Given a `dropout_key`, as in training, weights are these, with
noise that drives `stop` to 0 or 1. Without one a query stops at the first key with stop > 1/2 and
reads it alone; derivatives then are those that `stop` would have.

It gives up reading against the order of the keys. A query that stops nowhere gives 0, and so do
all after it, as in the authors' program. Hidden keys are passed by; the hidden layer is shared by
all heads. In place of the paper's closed form, which divides by products that reach 0, the
recurrence over keys is done in log2(s) rounds, exactly.

Reference: Raffel et al. 2017, arXiv:1704.00784, equations 11 to 14; the score and the noise:
sections 2.4 and 2.5.
Cost: (t + s) d a + t s (a tanh + log2(s) + e) a head, for a hidden layer of width a; t s numbers
held.
"""

from typing import Any

from jaxtyping import Array, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders.stateful import (
    at_first,
    from_weights,
    init_stopping_probability,
    stopping_probability,
)
from attention_jax.variants._builders.stateful import monotonic as walk


def monotonic(
    *, width: int | None = None, hard: bool = True, noise: float = 1.0, bias: float = -1.0
) -> Variant:
    """A walk along the keys.

    Args:
      width: of the hidden layer; None for that of the heads.
      hard: without a `dropout_key`, whether each query reads the one key where it stops, as the
        paper does after training; False for the probabilities then too, without noise.
      noise: the standard deviation of what is added with a `dropout_key`; at least 0.
      bias: where r starts; the lower, the further a query goes before it stops.
    """
    if width is not None:
        checks.positive("width", width)
    if not noise >= 0:
        raise ValueError(f"`noise` must be at least 0; got {noise!r}.")

    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del heads, kv_heads
        return init_stopping_probability(key, head_width, width, bias)

    def weigh(
        params: Params, past: Array, q: Array, k: Array, visible: Array, key: Any
    ) -> tuple[Array, Array]:
        weights = walk(
            past, stopping_probability(params, q, k, visible, key, hard=hard, noise=noise)
        )
        return weights, weights

    return from_weights("monotonic", weigh, init=init, before=at_first, stochastic=True)
