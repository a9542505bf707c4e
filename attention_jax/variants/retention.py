"""Retention (RetNet): a state that decays at a rate of its own in each head, without a softmax.

    out_i = norm(sum_(j <= i) gamma_h^(i - j) (rotate(q_i) . rotate(k_j) / sqrt(d)) v_j)
    gamma_h = 1 - 2^(-5 - h)

`norm` brings each head's output to mean 0 and variance 1. The paper's other two divisors, of the
rows of decays and of the rows of scores, cancel in it and are left out; so is the gate after it,
which belongs to the layer. Hidden keys add nothing, while the distances across them still count.
It gives up looking back precisely: what is far has faded, whatever the query.

Reference: Sun et al. 2023, arXiv:2307.08621, equations 5, 6 and 8.
Cost: t d e products a head for the states, and t 32 (d + e) within chunks; d e numbers of state.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attention_jax.core import positions
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders.linear import from_decay

ALIASES = ("retnet",)


def retention(*, rotate: bool = True, normalize: bool = True) -> Variant:
    """Sums of values that fade with distance.

    Args:
      rotate: whether queries and keys are turned by their positions, as in rotary embeddings;
        needs heads of an even width. False where the layer does it already.
      normalize: whether each head's output is brought to mean 0 and variance 1.
    """

    def fade(
        params: Params, q: Array, k: Array, at: Array, visible: Array
    ) -> tuple[Array, Array, Array]:
        del params, visible
        (b, t, h, d) = q.shape
        if rotate:
            q, k = (positions.rope(x, jnp.broadcast_to(at, (b, t))) for x in (q, k))
        log_gamma = jnp.asarray(np.log1p(-(2.0 ** (-5.0 - np.arange(h)))), q.dtype)
        return q * d**-0.5, k, jnp.broadcast_to(log_gamma[None, None, :, None], (b, t, h, 1))

    return from_decay("retention", fade, normalize=normalize)
