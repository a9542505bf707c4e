"""Relative position representations: a learned vector a distance, for keys and values of pairs.

    weight[i] = softmax over visible j of q_i . (k_j + A[c(i - j)]) / sqrt(d)
    out_i = sum_j weight[i, j] (v_j + B[c(i - j)])
    c(distance) = min(max(distance, -n), n) + n          n: max_distance

All heads share A and B. They are as wide as a head; narrower values take the first channels of B.

To all keys at least n before a query, or at least n after it, A adds one number: two plain calls of
attention sum these up. The 2 n - 1 keys between, which have distances of their own, are products of
neighbouring blocks, and one softmax joins the three parts. So no t s numbers are held. Up to 2^14
pairs, where these parts cost more than they save, all weights are held at once.

Reference: Shaw et al. 2018, arXiv:1803.02155, section 3, equations 3 and 4.
Cost: t s (d + e + 1) + 2 t n d products a head; with `values` t s (d + e) + 6 t n (d + e) or, up to
2^14 pairs, t s (d + e + 2) + 2 t n (d + e).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from attention_jax.core import (
    captured_arrays,
    checks,
    masks,
    numerics,
    positions,
    scores,
)
from attention_jax.core.types import Options, Output, Params, Variant
from attention_jax.engine import reference
from attention_jax.engine.api import attention
from attention_jax.variants._builders import banded
from attention_jax.variants._builders.options import check_request

ALIASES = ("shaw",)
# With so many pairs of a query and a key or fewer, values are summed from all weights at once.
_FEW_PAIRS = 2**14


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
    rows = _added(params, q.astype(numerics.wide_dtype(q, k, v)))
    add = positions.by_distance(rows, rows="queries", offset=options.query_offset)
    return attention(q, k, v, score_mod=add, **options._asdict())


def _with_values(
    params: Params, q: Array, k: Array, v: Array, options: Options = Options()
) -> Output:
    _check(params, q, k, v, options)
    pairs = q.shape[1] * k.shape[1]
    many = isinstance(pairs, int) and pairs > _FEW_PAIRS  # of a symbolic length nothing is known
    parts = many or options.implementation is not None
    out, lse = (_in_parts if parts else _at_once)(params, q, k, v, options)
    out = out.astype(q.dtype)
    return (out, lse) if options.return_lse else out


def _check(params: Params, q: Array, k: Array, v: Array, options: Options) -> None:
    check_request(q, k, v, options)
    if v.shape[-1] > params["value"].shape[-1]:
        raise ValueError(
            f"`value` must be at most as wide as a head; got {v.shape[-1]} and "
            f"{params['value'].shape[-1]}. Project values to the width of a head."
        )


def _added(params: Params, q: Float[Array, "b t h d"]) -> Float[Array, "b t h r"]:
    """The numbers that A adds to the logits of each query, from far after to far before."""
    # A query that is not finite makes NaN of its scores already.
    finite = jnp.where(jnp.isfinite(q), q, 0) * q.shape[-1] ** -0.5
    return jnp.einsum("bthd,rd->bthr", finite, params["key"].astype(q.dtype))


def _at_once(
    params: Params, q: Array, k: Array, v: Array, options: Options
) -> tuple[Float[Array, "b t h e"], Float[Array, "b t h"]]:
    """The output and the log-sum-exp, of all weights [b h t s]."""
    (b, t, h, _), s, rows = q.shape, k.shape[1], len(params["key"])
    at_q, at_k = options.query_offset + jnp.arange(t), options.key_offset + jnp.arange(s)
    at = jnp.arange(b), jnp.arange(h), at_q, at_k
    row = jnp.clip(at_q[:, None] - at_k[None] + rows // 2, 0, rows - 1)
    q, k, v, poison = reference.finite(q, k, v)
    added = jnp.take_along_axis(_added(params, q).swapaxes(1, 2), row[None, None], axis=-1)
    logits = reference.pair_scores(scores.scaled_dot, q, k) + added + poison
    seen = reference.visible_pairs(options.mask, at)
    weights, lse = reference.softmax(logits, seen)
    if options.dropout_rate and options.dropout_key is not None:
        rate, key = options.dropout_rate, options.dropout_key
        weights = numerics.dropped(weights, key, rate, jnp.ix_(*at))
    shares = jnp.zeros((b, h, t, rows), v.dtype)
    shares = shares.at[:, :, jnp.arange(t)[:, None], row].add(weights)
    of_rows = jnp.einsum("bhtr,re->bthe", shares, params["value"][:, : v.shape[-1]].astype(v.dtype))
    out = reference.weighted_sum(weights, v) + of_rows
    return out, lse.swapaxes(1, 2)


def _in_parts(
    params: Params, q: Array, k: Array, v: Array, options: Options
) -> tuple[Float[Array, "b t h e"], Float[Array, "b t h"]]:
    """The same, of parts: keys far before, near ones, and keys far after."""
    q, k, v = (x.astype(numerics.wide_dtype(q, k, v)) for x in (q, k, v))
    rows, most = _added(params, q)[..., ::-1], len(params["key"]) // 2
    before = _far(masks.causal & ~masks.sliding_window(most), q, k, v, options)
    after = _far(~masks.causal & ~masks.sliding_window(most), q, k, v, options)
    near, values = _near(rows[..., 1:-1], q, k, v, options)
    ends = (before.lse + rows[..., 0])[..., None], (after.lse + rows[..., -1])[..., None]
    logits = jnp.concatenate([ends[0], near, ends[1]], axis=-1)
    seen = logits != -jnp.inf
    logits = jnp.where(seen, logits, 0)
    shares, lse = reference.softmax(logits, seen)
    of_before, of_after = shares[..., :1] * before.sums, shares[..., -1:] * after.sums
    kept = _dropped(shares[..., 1:-1], options)
    out = of_before[..., :-1] + banded.sums(kept, values) + of_after[..., :-1]
    kept = jnp.concatenate([of_before[..., -1:], kept, of_after[..., -1:]], axis=-1)
    table = params["value"][::-1, : v.shape[-1]].astype(kept.dtype)
    return out + kept @ table, lse


class _Far(NamedTuple):
    """Keys beyond the furthest distance on one side, which share a row of both tables.

    Attributes:
      sums: of what they weigh among themselves times their values, and of that alone.
      lse: the log-sum-exp of their logits, without what A adds to all of them.
    """

    sums: Float[Array, "b t h e+1"]
    lse: Float[Array, "b t h"]


def _far(far: masks.Mask, q: Array, k: Array, v: Array, options: Options) -> _Far:
    rest = options._replace(mask=masks.both(options.mask, far), return_lse=True)
    ones = jnp.ones((*v.shape[:-1], 1), v.dtype)
    return _Far(*attention(q, k, jnp.concatenate([v, ones], axis=-1), **rest._asdict()))


def _near(
    added: Float[Array, "b t h c"], q: Array, k: Array, v: Array, options: Options
) -> tuple[Float[Array, "b t h c"], Float[Array, "b n w g e"]]:
    """The logits of the keys nearer than that, -inf where hidden; and their values, in windows."""
    (_, t, _, d), s, width = q.shape, k.shape[1], added.shape[-1]
    q, k, v, of_query, of_key = reference.finite_parts(q, k, v)
    q = jnp.concatenate([q * d**-0.5, jnp.ones((*q.shape[:-1], 1), q.dtype)], axis=-1)
    k = jnp.concatenate([k, of_key[..., None]], axis=-1)
    first = options.query_offset - options.key_offset - width // 2
    keys, values = (banded.windows(x, first=first, length=t, width=width) for x in (k, v))
    logits = banded.products(q, keys, width=width) + added + of_query[..., None]
    at = _positions(added.shape, options)
    places = at[-1] - options.key_offset
    seen = _seen(options, *at) & ((places >= 0) & (places < s))[None, :, None]
    return jnp.where(seen, logits, -jnp.inf), values


def _positions(shape: tuple[int, ...], options: Options) -> tuple[Array, ...]:
    """b, h, i [t] and j [t c] of the keys near each query."""
    b, t, h, width = shape
    i = options.query_offset + jnp.arange(t)
    return jnp.arange(b), jnp.arange(h), i, i[:, None] + jnp.arange(width)[None] - width // 2


def _seen(
    options: Options, b: Array, h: Array, i: Int[Array, " t"], j: Int[Array, "t c"]
) -> Bool[Array, "b t h c"]:
    """True where the mask shows a query one of its near keys."""
    each = partial(captured_arrays.call, masks.full if options.mask is None else options.mask)
    axes = (None, None, None, 0), (None, 0, None, None), (None, None, 0, 0), (0, None, None, None)
    for over in axes:
        each = jax.vmap(each, over)
    return each(b, h, i, j)


def _dropped(weights: Float[Array, "b t h c"], options: Options) -> Float[Array, "b t h c"]:
    """The weights of the near keys after dropout."""
    rate, key = options.dropout_rate, options.dropout_key
    if not rate or key is None:
        return weights
    b, h, i, j = _positions(weights.shape, options)
    at = b[:, None, None, None], h[None, None, :, None], i[None, :, None, None], j[None, :, None]
    return numerics.dropped(weights, key, rate, at)
