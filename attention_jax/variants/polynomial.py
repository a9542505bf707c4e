"""Polynomial attention: an even power of the dot product in place of its exponential.

    weight[i, j] = z[i, j]^degree / (1 + sum_k z[i, k]^degree)
    z[i, j] = norm(q_i) . norm(k_j)

`norm` is a layer norm without its gain, which is left to the projections before it. A key counts
as much as its opposite. It is the softmax of degree log |z| beside a sink at 0, and so is computed.
The paper replaces the power by sketches of linear cost; here it is exact.

Reference: Kacham et al. 2023, arXiv:2310.01655, and the authors' code.
Cost: t s (d + e) products and t s logarithms a head.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from attention_jax.core import checks, normalizers, scores
from attention_jax.core.types import ROLES, Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention
from attention_jax.variants._builders.linear import layer_norm

# Where z is 0 the logarithm still has a derivative, and the weight is 0 all the same.
TINY = 1e-30


def polynomial(*, degree: int = 4, normalize: bool = True) -> Variant:
    """Weights in proportion to a power of the dot product.

    Args:
      degree: even, so that no weight is negative.
      normalize: whether queries and keys are brought to mean 0 and variance 1 before.
    """
    checks.positive("degree", degree)
    if degree % 2:
        raise ValueError(
            f"`degree` must be even, so that no weight is negative; got {degree}. The nearest "
            f"above is {degree + 1}."
        )

    def raised(score: Array, b: Array, h: Array, i: Array, j: Array) -> Array:
        return degree / 2 * jnp.log(score**2 + TINY)

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        return attention(
            q,
            k,
            v,
            score=_normed_dot if normalize else scores.dot,
            score_mod=raised,
            normalizer=normalizers.softmax_with_sink(jnp.zeros(q.shape[2])),
            **options._asdict(),
        )

    return Variant(init=no_parameters, attend=attend, roles=ROLES, divides=True)


def _normed_dot(q: Float[Array, " d"], k: Float[Array, " d"]) -> Float[Array, ""]:
    return layer_norm(q) @ layer_norm(k)
