"""Query-key normalization: cosine scores with a learned scale, so that no score runs away.

    score = scale q . k / (|q| |k|)

The scale is shared by all heads. It gives up that a long key or query is sharper than a short one.

Reference: Henry et al. 2020, arXiv:2010.04245, section 3.
Cost: t s (d + e + 1) products a head.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks, scores
from attention_jax.core.types import Params, Score, Variant
from attention_jax.variants._builders.pair import from_score

ALIASES = ("qk_norm",)


def query_key_norm(*, length: int = 128) -> Variant:
    """The cosine times a learned scale, which starts at log2(length^2 - length).

    Args:
      length: at least 2; the paper takes the 97.5th percentile of the lengths of its sequences.
    """
    checks.positive("length", length)
    if length == 1:
        raise ValueError("`length` must be at least 2, for log2(length^2 - length); got 1.")
    return from_score(_score, _init(math.log2(length**2 - length)))


def _score(params: Params) -> Score:
    cosine = scores.cosine()

    def score(q: Float[Array, " d"], k: Float[Array, " d"]) -> Float[Array, ""]:
        return cosine(q, k) * params["scale"].astype(q.dtype)

    return score


def _init(start: float) -> Callable[..., dict[str, Array]]:
    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del key, heads, kv_heads, head_width
        return {"scale": jnp.asarray(start, jnp.float32)}

    return init
