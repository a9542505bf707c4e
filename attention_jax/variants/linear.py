"""Linear attention: weights are products of positive features, so keys are summed once.

    out_i = sum_j phi(q_i) . phi(k_j) v_j / sum_j phi(q_i) . phi(k_j)        phi(x) = elu(x) + 1

It gives up sharp weights: features of width d cannot single one key out of many.

Reference: Katharopoulos et al. 2020, arXiv:2006.16236, equations 5, 7 and 9.
Cost: (t + s) d e products a head, and t 32 (d + e) more within the chunks of a causal pass; d e
numbers of state.
"""

import jax.numpy as jnp
from jaxtyping import Array

from attention_jax.core.types import Variant
from attention_jax.variants._builders.linear import from_features

ALIASES = ("linear_transformer",)


def linear() -> Variant:
    """A mean weighted by products of elu(x) + 1."""
    return from_features("linear", _feature, _feature)


def _feature(x: Array, positions: Array) -> Array:
    """elu(x) + 1, in the form that keeps its digits where x is far below 0."""
    del positions
    return jnp.where(x > 0, x + 1, jnp.exp(jnp.minimum(x, 0)))
