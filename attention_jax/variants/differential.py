"""Differential attention: the difference of two softmaxes, in which common noise cancels.

    out_i = (1 - initial) norm(sum_j (softmax_j(q1_i . k1_j / sqrt(d / 2))
                                      - r softmax_j(q2_i . k2_j / sqrt(d / 2))) v_j)
    r = exp(a1 . b1) - exp(a2 . b2) + initial;  norm(x) = x / sqrt(mean(x^2) + 1e-5)

q1 and q2 are the halves of a head's query, k1 and k2 those of its key; r is shared by all heads.

Gives up weights that are positive and sum to 1. In the paper `initial` grows with the layer, as
0.8 - 0.6 exp(-0.3 (layer - 1)); a variant does not know its layer, so it is the 0.8 that the paper
compares with. The gain of the norm is left to the projection that follows.

Reference: Ye et al. 2024, arXiv:2410.05258, section 2.1, equations 1 to 3.
Cost: t s (d + 2 e) products a head.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import ROLES, Options, Params, Variant
from attention_jax.engine.api import attention

ALIASES = ("diff_transformer",)

VECTORS = ("a1", "b1", "a2", "b2")


def differential(*, initial: float = 0.8) -> Variant:
    """The difference of two attentions, normalized.

    Args:
      initial: the share of the second softmax at the start, in [0, 1).
    """
    checks.fraction("initial", initial)

    def attend(params: Params, q: Array, k: Array, v: Array, options: Options = Options()) -> Array:
        if options.return_lse:
            raise ValueError(
                "`return_lse` must be False, for differential has two softmaxes; got True. "
                "Use scaled_dot."
            )
        # In the wide dtype from here on: a difference would magnify what halves are rounded by.
        wide, width = q.astype(wide_dtype(q, k, v)), _half(q.shape[-1])
        halves: Any = (
            attention(wide[..., half], k[..., half], v, **options._asdict())
            for half in (slice(width), slice(width, None))
        )
        first, second = halves
        difference = first - _ratio(params, initial, wide) * second
        return ((1 - initial) * _norm(difference)).astype(q.dtype)

    return Variant(init=_init, attend=attend, roles=ROLES)


def _init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
    del heads, kv_heads
    shape = (_half(head_width),)
    keys = jax.random.split(key, len(VECTORS))
    return {name: 0.1 * jax.random.normal(keys[n], shape) for n, name in enumerate(VECTORS)}


def _half(width: int) -> int:
    if width % 2:
        raise ValueError(
            f"The width of the heads must be even, so that it has halves; got {width}. "
            f"The nearest below is {width - 1}."
        )
    return width // 2


def _ratio(params: Params, initial: float, like: Array) -> Float[Array, ""]:
    a1, b1, a2, b2 = (params[name].astype(like.dtype) for name in VECTORS)
    return jnp.exp(a1 @ b1) - jnp.exp(a2 @ b2) + initial


def _norm(x: Float[Array, "b t h e"]) -> Float[Array, "b t h e"]:
    return x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-5)
