"""Relative position representations: a learned vector a distance, for keys and values of pairs.

    weight[i] = softmax over visible j of q_i . (k_j + A[c(i - j)]) / sqrt(d)
    out_i = sum_j weight[i, j] (v_j + B[c(i - j)])
    c(distance) = min(max(distance, -n), n) + n          n: max_distance

All heads share A and B. They are as wide as a head; narrower values take the first channels of B.
Each key nearer than n has a row of B for itself, which its weight multiplies; what all further keys
weigh comes of the log-sum-exp of their logits alone. So neither A nor B needs t s numbers held.

Reference: Shaw et al. 2018, arXiv:1803.02155, section 3, equations 3 and 4.
Cost: t s (d + e + 1) + 2 t n d products a head; with `values` t s (d + 2) + t n (2 d + 2 e) more.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from attention_jax.core import captured_arrays, checks, masks, numerics, positions
from attention_jax.core.types import Options, Output, Params, Variant
from attention_jax.engine.api import attention

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
    products = _products(params, q)
    add = positions.by_distance(products, rows="queries", offset=options.query_offset)
    return attention(q, k, v, score_mod=add, **options._asdict())


def _with_values(
    params: Params, q: Array, k: Array, v: Array, options: Options = Options()
) -> Output:
    checks.attention_arrays(q, k, v)
    if v.shape[-1] > params["value"].shape[-1]:
        raise ValueError(
            f"`value` must be at most as wide as a head; got {v.shape[-1]} and "
            f"{params['value'].shape[-1]}. Project values to the width of a head."
        )
    wide = tuple(x.astype(numerics.wide_dtype(q, k, v)) for x in (q, k, v))
    out, lse = _with_keys(params, *wide, options._replace(return_lse=True))
    shares = _shares(params, *wide[:2], jnp.where(lse == -jnp.inf, 0, lse), options)
    table = params["value"][:, : v.shape[-1]].astype(shares.dtype)
    out = (out + jnp.einsum("bthr,re->bthe", shares, table)).astype(q.dtype)
    return (out, lse) if options.return_lse else out


def _products(params: Params, q: Float[Array, "b t h d"]) -> Float[Array, "b t h r"]:
    """The product of each query with the vector of each distance."""
    wide = q.astype(numerics.wide_dtype(q))
    # A query that is not finite makes NaN of its scores already.
    wide = jnp.where(jnp.isfinite(wide), wide, 0) * q.shape[-1] ** -0.5
    return jnp.einsum("bthd,rd->bthr", wide, params["key"].astype(wide.dtype))


def _shares(
    params: Params, q: Array, k: Array, lse: Float[Array, "b t h"], options: Options
) -> Float[Array, "b t h r"]:
    """The sum of the weights of each distance: one key has each but the two furthest."""
    most = len(params["key"]) // 2
    far = ~masks.sliding_window(most)
    before, after = (
        _share_beyond(params, q, k, lse, options, side & far)
        for side in (masks.causal, ~masks.causal)
    )
    near = _shares_near(params, q, k, lse, options)
    return jnp.concatenate([after[..., None], near, before[..., None]], axis=-1)


def _share_beyond(
    params: Params, q: Array, k: Array, lse: Array, options: Options, far: masks.Mask
) -> Float[Array, "b t h"]:
    """The sum of the weights of the far keys: what they weigh among themselves, scaled."""
    only = options._replace(mask=masks.both(options.mask, far), return_lse=True)
    ones = jnp.ones((*k.shape[:-1], 1), k.dtype)
    kept, of_far = _with_keys(params, q, k, ones, only)
    return kept[..., 0] * jnp.exp(of_far - lse)


def _shares_near(
    params: Params, q: Array, k: Array, lse: Array, options: Options
) -> Float[Array, "b t h r"]:
    """The weights of the keys that have a distance of their own, from the last to the first."""
    (b, t, h, _), (s, g) = q.shape, k.shape[1:3]
    nearer, products = len(params["key"]) // 2 - 1, _products(params, q)
    wide, around = (jnp.where(jnp.isfinite(x), x, 0) for x in (q, k))
    wide = (wide * q.shape[-1] ** -0.5).reshape(b, t, g, h // g, -1)
    places = options.query_offset - options.key_offset + jnp.arange(-nearer, t + nearer)
    around = jnp.take(around, jnp.clip(places, 0, s - 1), axis=1)
    at = jnp.arange(b), jnp.arange(h), options.query_offset + jnp.arange(t)

    @jax.checkpoint
    def share(column: Array) -> Float[Array, "b t h"]:
        place, keys = (
            jax.lax.dynamic_slice_in_dim(x, 2 * nearer - column, t, axis)
            for x, axis in ((places, 0), (around, 1))
        )
        score = jnp.einsum("btgrd,btgd->btgr", wide, keys).reshape(b, t, h)
        score = score + jax.lax.dynamic_index_in_dim(products, column + 1, 3, keepdims=False)
        seen, kept = _seen_and_kept(options, *at, options.key_offset + place)
        seen = seen & ((place >= 0) & (place < s))[None, :, None]
        weight = jnp.exp(jnp.where(seen, score - lse, -jnp.inf))
        return jnp.where(kept, weight / (1 - options.dropout_rate), 0)

    return jnp.moveaxis(jax.lax.map(share, jnp.arange(2 * nearer + 1)), 0, -1)


def _seen_and_kept(
    options: Options, b: Array, h: Array, i: Int[Array, " t"], j: Int[Array, " t"]
) -> tuple[Bool[Array, "b t h"], Bool[Array, "#b #t #h"]]:
    """Whether each query sees its one key, and whether dropout keeps the weight."""
    each = partial(captured_arrays.call, masks.full if options.mask is None else options.mask)
    for axes in ((None, 0, None, None), (None, None, 0, 0), (0, None, None, None)):
        each = jax.vmap(each, axes)
    seen, key = each(b, h, i, j), options.dropout_key
    if key is None:
        return seen, jnp.ones((1, 1, 1), bool)
    at = b[:, None, None], h[None, None], i[None, :, None], j[None, :, None]
    return seen, numerics.kept_pairs(key, options.dropout_rate, at)
