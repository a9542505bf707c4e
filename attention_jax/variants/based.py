"""Based: linear attention whose weights are the Taylor series of the softmax's, to second order.

    weight[i, j] = 1 + x + x^2 / 2 = phi(q_i) . phi(k_j)        x = q_i . k_j / sqrt(d)
    out_i = sum_j weight[i, j] v_j / sum_j weight[i, j]
    phi(x) = (1, x_a / d^(1/4), x_a^2 / sqrt(2 d), x_a x_b / sqrt(d) for a < b)

The series is above 1/2 for any x. It gives up sharp weights: they grow with the square of a score,
not its exponential. The features are many, so the paper takes heads 16 wide, and puts layers of
sliding windows between these.

Reference: Arora et al. 2024, arXiv:2402.18668.
Cost: (t + s) m e products a head for m = (d + 1) (d + 2) / 2 features, and t 32 (m + e) more within
the chunks of a causal pass; m e numbers of state.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attention_jax.core.types import Variant
from attention_jax.variants._builders.linear import from_features

ALIASES = ("taylor",)


def based() -> Variant:
    """A mean weighted by the first terms of an exponential."""
    return from_features("based", _feature, _feature)


def _feature(x: Array, positions: Array) -> Array:
    del positions
    d = x.shape[-1]
    x = x * d**-0.25
    first, second = np.triu_indices(d)
    # x_a x_b stands for x_b x_a too, and the square of a channel for itself alone.
    shares = jnp.asarray(np.where(first == second, 0.5**0.5, 1), x.dtype)
    squares = x[..., first] * x[..., second] * shares[None, None, None]
    return jnp.concatenate([jnp.ones((*x.shape[:-1], 1), x.dtype), x, squares], axis=-1)
