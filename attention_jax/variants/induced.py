"""Induced set attention (ISAB): learned points read all keys, and each query reads the points.

    z[n] = softmax over visible j of p_n . k_j / sqrt(d)
    key_n = p_n + sum_j z[n, j] k_j,    value_n = sum_j z[n, j] v_j
    out_i = sum_n softmax_n(q_i . key_n / sqrt(d)) value_n

Gives up weights of single keys, and masks that differ between queries.

This is the induced set attention block of the paper, without its feed-forward layers and
normalizations; the p_n in the sum is its residual connection. The first step alone is also how a
Perceiver reads its input into latents (arXiv:2103.03206), and the second how it answers queries
(arXiv:2107.14795); layers between the two are a model's.

Reference: Lee et al. 2019, arXiv:1810.00825, equations 9 and 10.
Cost: (t + s) points (d + e) products a head.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Params, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders import keywise
from attention_jax.variants._builders.options import refuse

ALIASES = ("isab",)


def induced(*, points: int = 16) -> Variant:
    """The scaled dot product with points between queries and keys.

    Args:
      points: learned queries of each head.
    """
    checks.positive("points", points)

    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del kv_heads
        return {"points": jax.random.normal(key, (points, heads, head_width))}

    return Variant(init=init, attend=_attend, roles=("bidirectional", "cross"), mask_kind="keywise")


def _attend(
    params: Params, q: Array, k: Array, v: Array, options: Options = Options()
) -> Float[Array, "b t h e"]:
    checks.attention_arrays(q, k, v)
    checks.position("query_offset", options.query_offset)
    checks.dropout(options.dropout_rate, options.dropout_key)
    _check(options, k)
    own, of_queries = _split(options)
    dtype = wide_dtype(q, k, v)
    points = jnp.broadcast_to(
        params["points"].astype(dtype)[None], (q.shape[0], *params["points"].shape)
    )
    read: Any = attention(
        points,
        k,
        jnp.concatenate([k.astype(dtype), v.astype(dtype)], axis=-1),
        **own._asdict(),
    )
    keys, values = points + read[..., : k.shape[-1]], read[..., k.shape[-1] :]
    out: Any = attention(q, keys, values, **of_queries._asdict())
    return out


def _split(options: Options) -> tuple[Options, Options]:
    """Options of the points that read the keys, and of the queries that read the points."""
    key = options.dropout_key
    of_points, of_queries = (None, None) if key is None else jax.random.split(key)
    return (
        options._replace(query_offset=0, dropout_key=of_points),
        options._replace(mask=None, query_offset=0, key_offset=0, dropout_key=of_queries),
    )


def _check(options: Options, k: Array) -> None:
    refuse("induced", options, "return_lse")
    mask, key_offset = options.mask, options.key_offset
    keywise.never_causal(mask, "the points of induced read all keys before a query reads them")
    keywise.split_mask("induced", mask, batch=k.shape[0], length=k.shape[1], offset=key_offset)
