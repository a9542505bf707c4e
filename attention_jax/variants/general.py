"""Multiplicative attention: a learned bilinear form of query and key.

    score = q . W k

W is shared by all heads; in a transformer each head has its own projections before it.

Reference: Luong et al. 2015, arXiv:1508.04025, section 3.1.
Cost: t d^2 + t s (d + e) products a head.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import scores
from attention_jax.core.types import Variant
from attention_jax.variants._builders.pair import from_score

ALIASES = ("bilinear",)


def general() -> Variant:
    """The bilinear score, which starts as the scaled dot product."""
    return from_score(lambda params: scores.general(params["w"]), _init)


def _init(
    key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int
) -> dict[str, Float[Array, "d d"]]:
    del key, heads, kv_heads
    return {"w": jnp.eye(head_width) * head_width**-0.5}
