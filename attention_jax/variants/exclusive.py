"""Exclusive self-attention (XSA): the output holds nothing of the token's own value.

    y_i = sum_j softmax_j(q_i . k_j / sqrt(d)) v_j
    out_i = y_i - (y_i . v_i) v_i / |v_i|^2

So a head speaks of the context, and what the token itself says is left to the residual; weight on
the own position goes nowhere, as that on a sink. Queries must stand within the positions of the
keys, whose values are theirs. Where the mask hides a query's own position nothing is taken out.

Reference: Zhai 2026, arXiv:2603.09078.
Cost: t s (d + e) + 2 t e products a head.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attention_jax.core import checks
from attention_jax.core.masks import Mask
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, Variant, no_parameters
from attention_jax.engine.api import attention
from attention_jax.variants._builders import keywise
from attention_jax.variants._builders.options import apply

ALIASES = ("xsa",)


def exclusive() -> Variant:
    """The scaled dot product, orthogonal to each token's own value."""
    return Variant(init=no_parameters, attend=_attend)


def _attend(params: Params, q: Array, k: Array, v: Array, options: Options = Options()) -> Output:
    del params
    checks.attention_arrays(q, k, v)
    at = options.query_offset, options.key_offset
    keywise.inside("exclusive", "whose values are theirs", q.shape[1], k.shape[1], *at)
    wide = q.astype(wide_dtype(q, k, v))
    own = _own_values(wide, v.astype(wide.dtype), options)
    square = (own**2).sum(-1, keepdims=True)

    def without(mixed: Array) -> Array:
        share = (mixed * own).sum(-1, keepdims=True) / jnp.where(square == 0, 1, square)
        return (mixed - share * own).astype(q.dtype)

    return apply(without, attention(wide, k, v, **options._asdict()))


def _own_values(q: Array, v: Array, options: Options) -> Float[Array, "b t h e"]:
    """The value at the position of each query; 0 where it is hidden or not finite."""
    (b, t, h, _), (_, s, g, _) = q.shape, v.shape
    count = lambda n: jnp.arange(n, dtype=jnp.int32)  # noqa: E731
    at = jnp.asarray(options.query_offset, jnp.int32) + count(t)
    rows = jnp.clip(at - options.key_offset, 0, s - 1)
    own = jnp.repeat(jnp.take(v, rows, axis=1), h // g, axis=2)
    shown = jnp.isfinite(own).all(-1)
    if options.mask is not None:
        mask = Mask(options.mask)
        each = jax.vmap(lambda b, i, h: mask(b, h, i, i), (None, None, 0))
        each = jax.vmap(jax.vmap(each, (None, 0, None)), (0, None, None))
        shown = shown & each(count(b), at, count(h))
    return jnp.where(shown[..., None], own, 0)
