"""Scalable softmax (SSMax): sharper the more keys there are, so that attention does not fade.

    weight[i] = softmax over visible j of s_h log(n_i) score[i, j],  score = q . k / sqrt(d)

with n_i keys that query i may see, and s learned. A key that scores above the others by a margin
keeps its share in contexts of any length, where that of the softmax falls as 1 / n. s starts so
that s log n is 1 on average over contexts of up to 1024 keys.

Reference: Nakanishi 2025, arXiv:2501.19399.
Cost: t s (d + e) products a head, and t s looks at the mask.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import contexts, merging, scores
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import ROLES, Options, Output, Params, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders.options import cast

ALIASES = ("ssmax",)

START = 0.168


def scalable_softmax() -> Variant:
    """The scaled dot product times a learned share of the logarithm of the number of keys."""

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        wide = q.astype(wide_dtype(q, k, v))
        s = params["s"].astype(wide.dtype)[None, None]
        sharpness = s * jnp.log(_visible(wide, k, options))
        return cast(attention(wide * sharpness[..., None], k, v, **options._asdict()), q.dtype)

    return Variant(init=_init, attend=attend, roles=ROLES, divides=True)


def _visible(q: Array, k: Array, options: Options) -> Float[Array, "b t h"]:
    """The number of keys that each query sees, at least 1."""
    nothing = jnp.zeros((*k.shape[:3], 1), q.dtype)
    own = Options(options.mask, options.query_offset, options.key_offset)
    if options.context is not None:
        # A number is not worth a ring.
        gathered = contexts.checked(options.context)._replace(strategy="gather")
        own = own._replace(context=gathered)
    found = attention(
        jnp.zeros((*q.shape[:3], 1), q.dtype),
        nothing,
        nothing + 1,
        score=scores.dot,
        normalizer=merging.COUNT,
        **own._asdict(),
    )
    assert not isinstance(found, tuple)
    return jnp.maximum(found[..., 0], 1)


def _init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
    del key, kv_heads, head_width
    return {"s": jnp.full(heads, START)}
