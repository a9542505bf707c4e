"""Learned absolute positions: a vector a position, added to queries and keys.

    score[i, j] = (q_i + p_i) . (k_j + r_j) / sqrt(d)

Each query head has its own p, each key head its own r. They are what position vectors that are
added to the layer's input become in its queries and keys; the values get none here. Gives up
sequences longer than `max_length`.

Reference: Gehring et al. 2017, arXiv:1705.03122, section 3.1; in a transformer Devlin et al. 2018,
arXiv:1810.04805, section 3.
Cost: t s (d + e) products a head.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core import checks, positions
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders.options import cast


def learned_absolute(*, max_length: int = 512) -> Variant:
    """The scaled dot product of queries and keys that know their positions.

    Args:
      max_length: of both sequences; longer ones are refused.
    """
    checks.positive("max_length", max_length)
    return Variant(init=_init(max_length), attend=_attend)


def _init(max_length: int) -> Callable[..., dict[str, Array]]:
    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        of_query, of_key = jax.random.split(key)
        return {
            "query": 0.02 * jax.random.normal(of_query, (max_length, heads, head_width)),
            "key": 0.02 * jax.random.normal(of_key, (max_length, kv_heads, head_width)),
        }

    return init


def _attend(params: Params, q: Array, k: Array, v: Array, options: Options = Options()) -> Output:
    checks.attention_arrays(q, k, v)
    dtype = wide_dtype(q, k, v)
    placed_q = _placed(q.astype(dtype), params["query"], options.query_offset)
    placed_k = _placed(k.astype(dtype), params["key"], options.key_offset)
    out = attention(placed_q, placed_k, v, **options._asdict())
    return cast(out, q.dtype)


def _placed(x: Array, table: Array, offset: int | Array) -> Array:
    """The vectors with those of their positions."""
    added = positions.learned(table, x.shape[1], offset=offset).astype(x.dtype)
    # Keys that were repeated for more heads keep the positions of theirs.
    return x + jnp.repeat(added, x.shape[2] // table.shape[1], axis=1)[None]
