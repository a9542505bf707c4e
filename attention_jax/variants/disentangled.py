"""Disentangled attention (DeBERTa): content and relative position are scored in separate terms.

    score[i, j] = (q_i . k_j + q_i . K[c(i - j)] + k_j . Q[c(j - i)]) / sqrt(3 d)
    c(distance) = min(max(distance + n, 0), 2 n - 1)          n: max_distance

Each head has its own K and Q, one learned vector a distance. In the paper they are projections of
one table of embeddings, which all layers share. Its last layer gets absolute positions as well,
which belong to the model.

Reference: He et al. 2020, arXiv:2006.03654, section 3.1, equations 3 and 4.
Cost: t s (d + e + 2) + 2 (t + s) n d products a head, and 2 (t + s) n numbers held.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks, positions
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, Variant
from attention_jax.engine.api import attention

ALIASES = ("deberta",)


def disentangled(*, max_distance: int = 512) -> Variant:
    """The dot product of contents, and those of each content with the distance to the other.

    Args:
      max_distance: from here on all distances are one.
    """
    checks.positive("max_distance", max_distance)
    return Variant(init=_init(2 * max_distance), attend=_attend)


def _init(rows: int) -> Callable[..., dict[str, Array]]:
    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del kv_heads
        of_key, of_query = jax.random.split(key)
        return {
            "key": 0.02 * jax.random.normal(of_key, (rows, heads, head_width)),
            "query": 0.02 * jax.random.normal(of_query, (rows, heads, head_width)),
        }

    return init


def _attend(params: Params, q: Array, k: Array, v: Array, options: Options = Options()) -> Output:
    checks.attention_arrays(q, k, v)
    dtype, scale = wide_dtype(q, k, v), (3 * q.shape[-1]) ** -0.5
    repeated = jnp.repeat(k, q.shape[2] // k.shape[2], axis=2)
    of_query = scale * _products(q.astype(dtype), params["key"])
    of_key = scale * _products(repeated.astype(dtype), params["query"])
    from_query = positions.by_distance(of_query, rows="queries", offset=options.query_offset)
    from_key = positions.by_distance(of_key, rows="keys", offset=options.key_offset)
    return attention(
        q,
        k,
        v,
        score=lambda q, k: (q * scale) @ k,
        score_mod=lambda score, *at: from_key(from_query(score, *at), *at),
        **options._asdict(),
    )


def _products(x: Float[Array, "b n h d"], table: Float[Array, "r h d"]) -> Float[Array, "b n h r"]:
    """Each vector with each distance."""
    # A vector that is not finite makes NaN of the dot product of its pairs, where they are seen.
    finite = jnp.where(jnp.isfinite(x), x, 0)
    return jnp.einsum("bnhd,rhd->bnhr", finite, table.astype(x.dtype))
