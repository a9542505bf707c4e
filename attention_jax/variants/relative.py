"""Relative position representations: a learned vector a distance, for keys and values of pairs.

    weight[i] = softmax over visible j of q_i . (k_j + A[c(i - j)]) / sqrt(d)
    out_i = sum_j weight[i, j] (v_j + B[c(i - j)])
    c(distance) = min(max(distance, -n), n) + n          n: max_distance

All heads share A and B. They are as wide as a head; narrower values take the first channels of B.
Without B, which the paper finds to add little to A, no t s numbers are held.

Reference: Shaw et al. 2018, arXiv:1803.02155, section 3, equations 3 and 4.
Cost: t s (d + e + 2) + t n (2 d + 2 e) products a head, and t s numbers held, with `values`;
t s (d + e + 1) + 2 t n d products without.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from attention_jax.core import checks, lookups, normalizers, numerics, positions, scores
from attention_jax.core.types import Options, Output, Params, Variant
from attention_jax.engine import reference
from attention_jax.engine.api import attention
from attention_jax.variants._builders.options import refuse

ALIASES = ("shaw",)


def relative(*, max_distance: int = 16, values: bool = True) -> Variant:
    """The scaled dot product, with distances in the keys and, by default, in the values.

    Args:
      max_distance: from here on all distances are one, on each side.
      values: whether values have distances too; False holds no weights.
    """
    checks.positive("max_distance", max_distance)
    checks.one_of("values", values, (True, False))
    names = ("key", "value") if values else ("key",)
    attend = _with_values if values else _with_keys
    return Variant(init=_init(names, 2 * max_distance + 1), attend=attend)


def _init(names: tuple[str, ...], rows: int) -> Callable[..., dict[str, Array]]:
    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del heads, kv_heads
        shape, keys = (rows, head_width), jax.random.split(key, len(names))
        return {
            name: head_width**-0.5 * jax.random.normal(keys[n], shape)
            for n, name in enumerate(names)
        }

    return init


def _with_keys(
    params: Params, q: Array, k: Array, v: Array, options: Options = Options()
) -> Output:
    wide = q.astype(numerics.wide_dtype(q, k, v))
    # A query that is not finite makes NaN of its scores already.
    products = _products(params, jnp.where(jnp.isfinite(wide), wide, 0))
    add = positions.by_distance(products, rows="queries", offset=options.query_offset)
    return attention(q, k, v, score_mod=add, **options._asdict())


def _with_values(
    params: Params, q: Array, k: Array, v: Array, options: Options = Options()
) -> Float[Array, "b t h e"]:
    _check(params, q, k, v, options)
    rate, key = options.dropout_rate, options.dropout_key
    (b, t, h, _), s = q.shape, k.shape[1]
    at_q, at_k = options.query_offset + jnp.arange(t), options.key_offset + jnp.arange(s)
    at = jnp.arange(b), jnp.arange(h), at_q, at_k
    rows = len(params["key"])
    row = jnp.clip(at_q[:, None] - at_k[None] + rows // 2, 0, rows - 1)
    wide_q, wide_k, wide_v, poison = reference.finite(q, k, v)
    logits = _logits(params, wide_q, wide_k, row) + poison
    weights = normalizers.softmax.weights(logits, reference.visible_pairs(options.mask, at))
    if rate and key is not None:
        kept = numerics.kept_pairs(key, rate, jnp.ix_(*at))
        weights = jnp.where(kept, weights / (1 - rate), 0)
    return _sums(params, weights, wide_v, row).astype(q.dtype)


def _check(params: Params, q: Array, k: Array, v: Array, options: Options) -> None:
    refuse("relative", options, "return_lse", "implementation")
    checks.attention_arrays(q, k, v)
    checks.position("query_offset", options.query_offset, q.shape[1])
    checks.position("key_offset", options.key_offset, k.shape[1])
    lookups.check("mask", options.mask, q, k, options.query_offset, options.key_offset)
    checks.dropout(options.dropout_rate, options.dropout_key)
    if v.shape[-1] > params["value"].shape[-1]:
        raise ValueError(
            f"`value` must be at most as wide as a head; got {v.shape[-1]} and "
            f"{params['value'].shape[-1]}. Project values to the width of a head."
        )


def _products(params: Params, q: Float[Array, "b t h d"]) -> Float[Array, "b t h r"]:
    """The product of each query with the vector of each distance."""
    return jnp.einsum("bthd,rd->bthr", q * q.shape[-1] ** -0.5, params["key"].astype(q.dtype))


def _logits(params: Params, q: Array, k: Array, row: Int[Array, "t s"]) -> Array:
    products = _products(params, q).transpose(0, 2, 1, 3)
    added = jnp.take_along_axis(products, row[None, None], axis=-1)
    return reference.pair_scores(scores.scaled_dot, q, k) + added


def _sums(
    params: Params, weights: Float[Array, "b h t s"], v: Array, row: Int[Array, "t s"]
) -> Float[Array, "b t h e"]:
    """The weighted sums of the values, and of the vectors of their distances."""
    (b, h, t, s), (_, _, g, e) = weights.shape, v.shape
    of_values = jnp.einsum("bgrts,bsge->btgre", weights.reshape(b, g, h // g, t, s), v)
    table = params["value"][:, :e].astype(v.dtype)
    shares = jnp.zeros((b, h, t, len(table)), v.dtype)
    shares = shares.at[:, :, jnp.arange(t)[:, None], row].add(weights)
    return of_values.reshape(b, t, h, e) + jnp.einsum("bhtr,re->bthe", shares, table)
