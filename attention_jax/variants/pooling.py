"""Attention pooling: a learned query in each head, the same for every sequence.

    score[h, j] = query_h . k_j / sqrt(d)

The given queries count for their number, their positions under the mask, and their dtype only, so
rows under the same mask are equal. It gives up that a token chooses what to read.
The paper pools with several learned vectors, whose outputs then pass a feed-forward layer.

Reference: Lee et al. 2019, arXiv:1810.00825, section 3.2.
Cost: t s (d + e) products a head.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core.types import ROLES, Options, Output, Params, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders.options import cast

ALIASES = ("pma",)


def pooling() -> Variant:
    """The scaled dot product of the keys with a parameter."""

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        query = jnp.broadcast_to(params["query"][None, None], q.shape)
        return cast(attention(query, k, v, **options._asdict()), q.dtype)

    return Variant(init=_init, attend=attend, roles=ROLES)


def _init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
    del kv_heads
    return {"query": jax.random.normal(key, (heads, head_width))}
