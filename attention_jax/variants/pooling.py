"""Attention pooling: a learned query in each head asks every sequence the same question.

    score[h, j] = query_h . k_j / sqrt(d)

The given queries count for their number, their positions under the mask, and their dtype only, so
rows under the same mask are equal. It gives up that a token chooses what to read.
The paper pools with several learned vectors, whose outputs then pass a feed-forward layer.

Reference: Lee et al. 2019, arXiv:1810.00825, section 3.2.
Cost: t s (d + e) products a head.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core.types import PLACES, Params, Variant
from attention_jax.engine.api import attention


def pooling() -> Variant:
    """The scaled dot product of the keys with a parameter."""

    def attend(params: Params, q: Array, k: Array, v: Array, **request: Any) -> Any:
        query = jnp.broadcast_to(params["query"][None, None], q.shape)
        out: Any = attention(query, k, v, **request)
        if isinstance(out, tuple):  # asked for `return_lse`
            return out[0].astype(q.dtype), out[1]
        return out.astype(q.dtype)

    return Variant(init=_init, attend=attend, serves=PLACES)


def _init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
    del kv_heads
    return {"query": jax.random.normal(key, (heads, head_width))}
