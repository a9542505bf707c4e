"""The definition of attention, dense, in a few lines: the oracle of every faster path."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attention_jax.core import captured_arrays, normalizers
from attention_jax.core.jaxprs import depends_on, hoist
from attention_jax.core.numerics import dropped, wide_dtype
from attention_jax.core.types import MaskFunction, Score
from attention_jax.engine.implementation import (
    Implementation,
    Output,
    Plan,
    dense_bytes,
    named_output,
    named_rows,
)
from attention_jax.engine.request import Request
from attention_jax.engine.tiles import guarded_dot


def run(request: Request) -> Output:
    """Computes a request, whatever it asks.

    weights = normalize(score_mod(score(q, k)), visible);  out = dropout(weights) @ v
    """
    return compute(request, _logits, _sum_of_values)


# (request, visible, at) -> logits [b h t s], where nothing is hidden yet
Logits = Callable[[Request, Array, tuple[Array, ...]], Array]
# (request, weights [b h t s], visible) -> output [b t h e]
SumOfValues = Callable[[Request, Array, Array], Array]


def compute(request: Request, logits_of: Logits, sum_of_values: SumOfValues) -> Output:
    """Computes a request by whole rows, with products of its own."""
    (b, t, h, _), s = request.query.shape, request.key.shape[1]
    starts = (0, 0, request.offsets.query, request.offsets.key)
    at = tuple(
        jnp.asarray(start, jnp.int32) + jnp.arange(n, dtype=jnp.int32)
        for start, n in zip(starts, (b, h, t, s), strict=True)
    )
    visible, normalizer = visible_pairs(request.mask, at), request.normalizer
    logits = logits_of(request, visible, at)
    if request.mask is not None:
        # Where a normalizer forgets to hide them, their derivatives do not matter.
        logits = jnp.where(visible, logits, 0)
    weights = normalizer.weights(logits, visible)
    if request.dropout is not None:
        rate, dropout_key = request.dropout
        weights = dropped(weights, dropout_key, rate, jnp.ix_(*at))
    out = named_output(sum_of_values(request, weights, visible).astype(request.query.dtype))
    if not request.return_lse or normalizer.lse is None:
        return out
    return out, named_rows(normalizer.lse(logits, visible).transpose(0, 2, 1))


def _logits(request: Request, visible: Array, at: tuple[Array, ...]) -> Array:
    q, k, _, poison = finite(*request.arrays)
    return modified(request, _scores(request, q, k, visible, at), visible, at) + poison


def _sum_of_values(request: Request, weights: Array, visible: Array) -> Array:
    del visible
    return weighted_sum(weights, finite(*request.arrays)[2])


def _scores(
    request: Request,
    q: Float[Array, "b t h d"],
    k: Float[Array, "b s g d"],
    visible: Array,
    at: tuple[Array, ...],
) -> Float[Array, "b h t s"]:
    """The scores; where pairs are hidden their derivatives are 0, finite or not."""
    parts, (b, g, r, t, s) = request.analysis.score, request.shape
    pair = None if parts.pair is None else hoist(parts.pair, finite=not any(parts.guarded))
    guarded = None if pair is None else pair.guarded
    if request.mask is None or not (any(parts.guarded) or guarded):
        return pair_scores(request.score, q, k, at=at if request.score_takes_positions else ())
    seen = jnp.broadcast_to(visible, (b, g * r, t, s))
    of_key = seen.any(2).reshape(b, g, r, s).any(2)
    q = _prepared(parts.of_query, parts.guarded[0], seen.any(3), q) * parts.scale
    k = _prepared(parts.of_key, parts.guarded[1], of_key, k)
    q, k = q.reshape(b, t, g, r, -1).transpose(0, 2, 3, 1, 4), k.transpose(0, 2, 1, 3)
    if pair is None:
        return guarded_dot(q, k, True).reshape(b, g * r, t, s)
    function = pair.function
    change = guarded or (lambda seen, *rest: function(*rest))
    at = (at[0], at[1].reshape(g, r), *at[2:]) if parts.positions else ()
    for axes in _PAIR_AXES:
        change = jax.vmap(change, (0, None, None, *axes[: 2 + len(at)]))
    x = change(seen.reshape(b, g, r, t, s), pair.floats, pair.others, q, k, *at)
    return x.astype(q.dtype).reshape(b, g * r, t, s)


def _prepared(
    plain: Callable[[Array], Array] | None,
    guarded: Callable[[Array, Array], Array] | None,
    seen: Bool[Array, "b h n"],
    x: Float[Array, "b n h d"],
) -> Float[Array, "b n h p"]:
    """The part of the score that needs one side alone."""
    if plain is None:
        return x
    each = (lambda seen, x: plain(x)) if guarded is None else guarded
    return jax.vmap(jax.vmap(jax.vmap(each)))(seen.transpose(0, 2, 1), x)


def modified(
    request: Request, logits: Float[Array, "b h t s"], visible: Array, at: tuple[Array, ...]
) -> Float[Array, "b h t s"]:
    """The scores after `score_mod`, if any; where pairs are hidden their derivatives are 0."""
    change: Any = request.score_mod
    if change is None:
        return logits
    program: Any = request.analysis.score_mod
    hoisted = hoist(program)
    guarded, captured = hoisted.guarded, (hoisted.floats, hoisted.others)
    if request.mask is None or guarded is None:
        return _over_pairs(change, inner=(0,))(logits, *at).astype(logits.dtype)
    each = lambda seen, *pair: guarded(seen, *captured, *pair)  # noqa: E731
    seen = jnp.broadcast_to(visible, logits.shape)
    return _over_pairs(each, inner=(0, 0))(seen, logits, *at).astype(logits.dtype)


# For the axes s, t, r, g and b in turn, which axis of q [b g r t d], k [b g s d], b [b], h [g r],
# i [t] and j [s] a function of one pair is mapped over.
_PAIR_AXES = (
    (None, 0, None, None, None, 0),
    (0, None, None, None, 0, None),
    (0, None, None, 0, None, None),
    (0, 0, None, 0, None, None),
    (0, 0, 0, None, None, None),
)


def pair_scores(
    score: Score,
    q: Float[Array, "b t h d"],
    k: Float[Array, "b s g d"],
    *,
    at: tuple[Array, ...] = (),
) -> Float[Array, "b h t s"]:
    """Every query against every key of its group.

    Args:
      at: b, h, i and j, for a score of positions.
    """
    (b, t, h, d), g = q.shape, k.shape[2]
    q = q.reshape(b, t, g, h // g, d).transpose(0, 2, 3, 1, 4)
    k = k.transpose(0, 2, 1, 3)
    at = (at[0], at[1].reshape(g, h // g), *at[2:]) if at else ()
    score = partial(captured_arrays.call, score)
    for axes in _PAIR_AXES:
        score = jax.vmap(score, axes[: 2 + len(at)])
    return score(q, k, *at).astype(q.dtype).reshape(b, h, t, k.shape[2])


def visible_pairs(mask: MaskFunction | None, at: tuple[Array, ...]) -> Bool[Array, "#b #h #t #s"]:
    """The mask at all positions; of length 1 along what it does not depend on."""
    if mask is None:
        return jnp.ones((1, 1, 1, 1), bool)
    used = depends_on(mask)
    at = tuple(x if needed else x[:1] for x, needed in zip(at, used, strict=True))
    return _over_pairs(mask)(*at)


def _over_pairs(function: Callable, *, inner: tuple[int, ...] = ()) -> Callable:
    """Maps a function of (..., b, h, i, j) over all four, and `inner` arguments with them."""
    function = partial(captured_arrays.call, function)
    for axis in (3, 2, 1, 0):
        mapped = [0 if axis == position else None for position in range(4)]
        function = jax.vmap(function, (*inner, *mapped))
    return function


def softmax(
    logits: Float[Array, "b h t s"], visible: Bool[Array, "#b #h #t #s"]
) -> tuple[Float[Array, "b h t s"], Float[Array, "b h t"]]:
    """The weights of rows and their log-sum-exps, for what computes whole rows by itself."""
    lse = cast(Callable[[Array, Array], Array], normalizers.softmax.lse)  # softmax has one
    return normalizers.softmax.weights(logits, visible), lse(logits, visible)


def finite(query: Array, key: Array, value: Array) -> tuple[Array, Array, Array, Array]:
    """Wide, finite copies of the three arrays, and a term for the scores: 0 or NaN.

    0 * NaN is NaN, so a hidden key or value that is not finite would reach every row through
    the matrix products or their derivatives. It becomes 0 there, and makes NaN of the scores
    that it has a part in; so the mask decides which rows it reaches.
    """
    q, k, v, of_query, of_key = finite_parts(query, key, value)
    of_pair = jnp.repeat(of_key, q.shape[2] // k.shape[2], axis=2)
    poison = of_query[:, :, :, None].transpose(0, 2, 1, 3)
    return q, k, v, poison + of_pair[:, :, :, None].transpose(0, 2, 3, 1)


def finite_parts(
    query: Array, key: Array, value: Array
) -> tuple[Array, Array, Array, Float[Array, "b t h"], Float[Array, "b s g"]]:
    """The same copies; and 0 or NaN for each query, and for each key with its value."""
    dtype = wide_dtype(query, key, value)
    wide = [x.astype(dtype) for x in (query, key, value)]
    q, k, v = (jnp.where(jnp.isfinite(x), x, 0) for x in wide)
    of_query, of_key, of_value = (_nan_where_not_finite(x) for x in wide)
    return q, k, v, of_query, of_key + of_value


def _nan_where_not_finite(x: Float[Array, "b n h d"]) -> Float[Array, "b n h"]:
    return jnp.where(jnp.isfinite(x).all(-1), 0, jnp.nan).astype(x.dtype)


def weighted_sum(
    weights: Float[Array, "b h t s"], v: Float[Array, "b s g e"]
) -> Float[Array, "b t h e"]:
    (b, h, t, s), (_, _, g, e) = weights.shape, v.shape
    grouped = weights.reshape(b, g, h // g * t, s)
    out = jnp.einsum("bgns,bgse->bgne", grouped, v.transpose(0, 2, 1, 3))
    return out.reshape(b, h, t, e).transpose(0, 2, 1, 3)


def _prefer(request: Request) -> str:
    unknown = "".join(x for x in request.symbolic if x != "b")
    if unknown:
        return f"lengths that are not known before the run ({', '.join(unknown)}) have no blocks"
    return f"{request.normalizer.name} needs whole rows of logits"


IMPLEMENTATION = Implementation(
    "reference",
    rank=70,
    refuse=lambda request: None,
    prefer=_prefer,
    run=run,
    plan=lambda request: Plan("reference", temporary_bytes=dense_bytes(request)),
    tile=lambda request: None,
    symbolic="bthdsge",
)
