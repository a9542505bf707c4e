"""Attention with a learned temperature in each head.

    score[h, i, j] = q_i . k_j / (sqrt(d) exp(log_temperature_h))

The paper learns sqrt(d) itself, also starts there, and hides each query's own key beside; here the
logarithm is learned, so that the temperature stays above 0, and the mask is the caller's.

Reference: Lee et al. 2021, arXiv:2112.13492, section 3.3.
Cost: t s (d + e + 1) products a head.
"""

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core.types import ROLES, Options, Output, Params, Variant
from attention_jax.engine.api import attention


def temperature() -> Variant:
    """The scaled dot product over a learned temperature, which starts at 1."""

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        sharpness = jnp.exp(-params["log_temperature"])

        def sharpen(score: Array, b: Array, h: Array, i: Array, j: Array) -> Array:
            return score * sharpness[h].astype(score.dtype)

        return attention(q, k, v, score_mod=sharpen, **options._asdict())

    return Variant(init=_init, attend=attend, roles=ROLES, divides=True)


def _init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
    del key, kv_heads, head_width
    return {"log_temperature": jnp.zeros(heads)}
