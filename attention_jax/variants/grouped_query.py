"""Grouped-query attention: query heads share a few key and value heads.

    out_h = attention(q_h, mean of the keys of its group, mean of the values of its group)

Gives up keys and values of each head's own. The layer's key and value heads are averaged to
`groups`, which is what averaging their projections gives, the way that the paper converts a trained
model; with `kv_heads=groups` the layer projects to as many, and keeps as many.

Reference: Ainslie et al. 2023, arXiv:2305.13245, section 2.2.
Cost: t s (d + e) products a query head; decoding keeps the layer's `kv_heads` heads.
"""

from jaxtyping import Array, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import ROLES, Options, Output, Params, Variant
from attention_jax.engine.api import attention

ALIASES = ("gqa",)


def grouped_query(*, groups: int = 2) -> Variant:
    """The scaled dot product with fewer heads of keys and values.

    Args:
      groups: heads of keys and values that are left; divides the layer's. The default suits
        models of a few heads; the paper takes 8, of 64.
    """
    checks.positive("groups", groups)

    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> Params:
        del key, heads, head_width
        checks.divides("groups", groups, "kv_heads", kv_heads)
        return {}

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        checks.divides("groups", groups, "kv_heads", k.shape[2])
        if k.shape[2] > groups:
            wide = wide_dtype(q, k, v)
            k, v = (_averaged(x.astype(wide), groups) for x in (k, v))
        return attention(q, k, v, **options._asdict())

    return Variant(init=init, attend=attend, roles=ROLES, divides=True)


def _averaged(x: Array, groups: int) -> Array:
    b, s, g, d = x.shape
    return x.reshape(b, s, groups, g // groups, d).mean(axis=3)
