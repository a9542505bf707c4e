"""Attention with a learned bias for each head and bucket of distances.

    score[h, i, j] = q_i . k_j / sqrt(d) + table[bucket(j - i), h]

The paper's own score has no 1 / sqrt(d): it is folded into the initialization there.

Reference: Raffel et al. 2020, arXiv:1910.10683, section 2.1.
Cost: t s (d + e) products and t s look-ups a head.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core import positions
from attention_jax.core.types import Options, Output, Params, Variant
from attention_jax.engine.api import attention

ALIASES = ("t5",)


def t5_bias(*, buckets: int = 32, max_distance: int = 128, bidirectional: bool = True) -> Variant:
    """The scaled dot product and a learned bias of distance.

    Args:
      buckets: how many distances are told apart; at least 4.
      max_distance: from here on all distances are one.
      bidirectional: False for decoders, where no key comes after its query.
    """
    # Refuses sizes that fit no bucket before there is a table.
    positions.t5_bucket(
        jnp.asarray(0), buckets=buckets, max_distance=max_distance, bidirectional=bidirectional
    )

    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del kv_heads, head_width
        return {"table": 0.02 * jax.random.normal(key, (buckets, heads))}

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        bias = positions.t5_bias(
            params["table"], max_distance=max_distance, bidirectional=bidirectional
        )
        return attention(q, k, v, score_mod=bias, **options._asdict())

    return Variant(init=init, attend=attend, divides=True)
