"""Contextual position encoding (CoPE): positions are counts of keys that the query gates.

    x[i, j] = q_i . k_j / sqrt(d)
    p[i, j] = min(sum of sigmoid(x[i, l]) over visible l from j to i, positions - 1)
    weight[i] = softmax over visible j of x[i, j] + q_i . E[p[i, j]]

E[p] lies between the learned vectors of the two whole numbers around p, in proportion; all heads
share them, and they start at 0, which is the scaled dot product. So a query can look at the third
sentence before it, where token counts would differ. It counts backwards from the query, and so
serves causal attention only.

Reference: Golovneva et al. 2024, arXiv:2405.18719, section 4, with the 1 / sqrt(d) of its
appendix.
Cost: t s (d + e + 2) + t n d products a head, for n positions, and t s numbers held.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks, normalizers
from attention_jax.core.normalizers import Normalizer
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders.keywise import is_causal

ALIASES = ("cope",)


def contextual(*, positions: int = 64) -> Variant:
    """The scaled dot product, and that of the query with a count.

    Args:
      positions: how many learned vectors; from the count `positions` - 1 on all are one.
    """
    checks.positive("positions", positions)
    return Variant(init=_init(positions), attend=_attend, roles=("causal",))


def _init(positions: int) -> Callable[..., dict[str, Array]]:
    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del key, heads, kv_heads
        return {"table": jnp.zeros((positions, head_width))}

    return init


def _attend(params: Params, q: Array, k: Array, v: Array, options: Options = Options()) -> Output:
    if not is_causal(options.mask):
        raise ValueError(
            "contextual counts from a key up to its query, so `mask` must hold `masks.causal`; "
            "got one without. Give `masks.causal`, joined with others by `&`, or use a variant "
            "that sees both ways."
        )
    wide = q.astype(wide_dtype(q, k, v))
    # A query that is not finite makes NaN of its scores already.
    finite = jnp.where(jnp.isfinite(wide), wide, 0)
    products = jnp.einsum("bthd,nd->bhtn", finite, params["table"].astype(wide.dtype))
    return attention(q, k, v, normalizer=_counting(products), **options._asdict())


def _counting(products: Float[Array, "b h t n"]) -> Normalizer:
    """A softmax of logits that are raised by what the query says of each count."""

    def weights(logits: Float[Array, "b h t s"], visible: Array) -> Float[Array, "b h t s"]:
        # A hidden logit may be NaN, and 0 * NaN would reach the derivatives of the sums.
        known = jnp.where(visible, logits, 0)
        gates = jnp.where(visible, jax.nn.sigmoid(known), 0)
        count = jax.lax.cumsum(gates, axis=3, reverse=True)
        raised = known + _between(products, count)
        return normalizers.softmax.weights(raised, visible)

    return Normalizer("contextual", weights)


def _between(
    products: Float[Array, "b h t n"], count: Float[Array, "b h t s"]
) -> Float[Array, "b h t s"]:
    """The products at counts that are no whole numbers."""
    last = products.shape[-1] - 1
    count = jnp.minimum(count, last)
    below = jnp.floor(count)
    share, low = count - below, below.astype(jnp.int32)
    at_low = jnp.take_along_axis(products, low, axis=-1)
    at_high = jnp.take_along_axis(products, jnp.minimum(low + 1, last), axis=-1)
    return (1 - share) * at_low + share * at_high
