"""FIRE: a small network reads the distance as a share of how far the query could look at most.

    score[h, i, j] = q_i . k_j / sqrt(d) + f_h(psi(|i - j|) / psi(max(i, L)))
    psi(x) = log(1 + c x)        f_h(x) = w2_h . relu(w1 x + b1) + b2_h

with learned c and L, and f shared by all heads but for its last layer. As shares lie between 0 and
1 for whatever length, longer sequences than those of the training bring nothing new. The paper is
about causal attention; here keys after the query are taken by their distance too.

Reference: Li et al. 2023, arXiv:2310.04418.
Cost: t s (d + hidden + e) products a head.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, ScoreMod, Variant
from attention_jax.engine.api import attention

# As the authors start; c stretches near distances, and L is the length up to which there is one
# scale for all queries.
RATE, LENGTH, LEAST = 0.1, 512.0, 1e-6


def fire(*, hidden: int = 32) -> Variant:
    """The scaled dot product, and a function of distance that is learned.

    Args:
      hidden: units of the function.
    """
    checks.positive("hidden", hidden)

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        dtype = wide_dtype(q, k, v)
        own = {name: x.astype(dtype) for name, x in params.items()}
        return attention(q, k, v, score_mod=_bias(own), **options._asdict())

    return Variant(init=_init(hidden), attend=attend, divides=True)


def _bias(params: dict[str, Array]) -> ScoreMod:
    rate, length = jnp.abs(params["rate"]), jnp.abs(params["length"]) * LENGTH
    w1, b1, w2, b2 = (params[name] for name in ("w1", "b1", "w2", "b2"))

    def raised(score: Array, b: Array, h: Array, i: Array, j: Array) -> Array:
        distance = jnp.abs(i - j).astype(rate.dtype)
        most = jnp.maximum(i.astype(rate.dtype), length)
        share = jnp.log1p(rate * distance) / (jnp.log1p(rate * most) + LEAST)
        bias = w2[h] @ jax.nn.relu(w1 * share + b1) + b2[h]
        return score + bias.astype(score.dtype)

    return raised


def _init(hidden: int) -> Callable[..., dict[str, Array]]:
    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del kv_heads, head_width
        keys = jax.random.split(key, 4)

        def uniform(number: int, shape: tuple[int, ...], inputs: int) -> Array:
            bound = inputs**-0.5
            return jax.random.uniform(keys[number], shape, minval=-bound, maxval=bound)

        return {
            "rate": jnp.float32(RATE),
            "length": jnp.float32(1),
            "w1": uniform(0, (hidden,), 1),
            "b1": uniform(1, (hidden,), 1),
            "w2": uniform(2, (heads, hidden), hidden),
            "b2": uniform(3, (heads,), hidden),
        }

    return init
