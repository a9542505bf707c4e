"""Multi-query attention: query heads share one key and one value head, so decoding reads less.

    out_h = attention(q_h, mean_g k_g, mean_g v_g)

Gives up keys and values of each head's own. The layer's key and value heads are averaged into one,
which is what averaging their projections gives, the way that Ainslie et al. convert a trained
model; with `kv_heads=1` the layer projects to one head, the paper's own form, and keeps one.

Reference: Shazeer 2019, arXiv:1911.02150, section 3; Ainslie et al. 2023, arXiv:2305.13245,
section 2.1.
Cost: t s (d + e) products a query head; decoding keeps the layer's `kv_heads` heads.
"""

from jaxtyping import Array

from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import ROLES, Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention

ALIASES = ("mqa",)


def multi_query() -> Variant:
    """The scaled dot product with one head of keys and values."""

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        del params
        if k.shape[2] > 1:
            wide = wide_dtype(q, k, v)
            k, v = (x.astype(wide).mean(axis=2, keepdims=True) for x in (k, v))
        return attention(q, k, v, **options._asdict())

    return Variant(init=no_parameters, attend=attend, roles=ROLES, divides=True)
