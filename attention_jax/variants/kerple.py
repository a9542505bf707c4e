"""KERPLE: a score falls with a learned logarithm, or a learned power, of distance.

    score[h, i, j] = q_i . k_j / sqrt(d) - scale_h log(1 + rate_h |i - j|)       form="log"
    score[h, i, j] = q_i . k_j / sqrt(d) - scale_h |i - j|^exponent_h            form="power"

with scale and rate above 0, and the exponent between 0 and 2, so that the bias is a conditionally
positive definite kernel of distance. To that end their logarithms are learned here, and for the
exponent the logit of its half; the authors clip them. All start where theirs do.

Reference: Chi et al. 2022, arXiv:2205.09921, and the authors' code.
Cost: t s (d + e) products and t s logarithms or powers a head.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.types import Options, Output, Params, Variant
from attention_jax.engine.api import attention

# Each parameter starts uniformly above this.
LEAST = 0.01


def kerple(*, form: str = "log") -> Variant:
    """The scaled dot product, lowered by a learned kernel of distance.

    Args:
      form: "log" or "power".
    """
    checks.one_of("form", form, ("log", "power"))
    kernel = _logarithm if form == "log" else _power

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        lower = kernel(params)
        return attention(
            q,
            k,
            v,
            score_mod=lambda score, b, h, i, j: score - lower(h, i - j).astype(score.dtype),
            **options._asdict(),
        )

    return Variant(init=_init_log if form == "log" else _init_power, attend=attend, divides=True)


def _logarithm(params: Params) -> Callable[[Array, Array], Array]:
    scale, rate = jnp.exp(params["log_scale"]), jnp.exp(params["log_rate"])
    return lambda h, distance: scale[h] * jnp.log1p(rate[h] * abs(distance).astype(rate.dtype))


def _power(params: Params) -> Callable[[Array, Array], Array]:
    scale, exponent = jnp.exp(params["log_scale"]), 2 * jax.nn.sigmoid(params["logit_exponent"])

    def lower(h: Array, distance: Array) -> Array:
        # 0^x = 0 has no derivative in x by way of logarithms.
        far = jnp.maximum(abs(distance), 1).astype(scale.dtype)
        return jnp.where(distance == 0, 0, scale[h] * far ** exponent[h])

    return lower


def _init_log(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
    del kv_heads, head_width
    of_scale, of_rate = jax.random.split(key)
    return {
        "log_scale": jnp.log(jax.random.uniform(of_scale, (heads,), minval=LEAST, maxval=2)),
        "log_rate": jnp.log(jax.random.uniform(of_rate, (heads,), minval=LEAST, maxval=1)),
    }


def _init_power(
    key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int
) -> dict[str, Array]:
    del kv_heads, head_width
    of_scale, of_exponent = jax.random.split(key)
    half = jax.random.uniform(of_exponent, (heads,), minval=LEAST / 2, maxval=1 - LEAST / 2)
    return {
        "log_scale": jnp.log(jax.random.uniform(of_scale, (heads,), minval=LEAST, maxval=1)),
        "logit_exponent": jnp.log(half / (1 - half)),
    }
