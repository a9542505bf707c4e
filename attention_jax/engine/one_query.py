"""Attention of one query a sequence, as decoding asks: products and sums where the keys lie.

A matrix product would first copy all keys, to bring their heads to the front. Here each is read
once, and the scores alone are held.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attention_jax.core.jaxprs import Parts
from attention_jax.engine import reference
from attention_jax.engine.implementation import Implementation, Output, Plan, dense_bytes
from attention_jax.engine.request import Request


def run(request: Request) -> Output:
    """Computes a request as `reference` does, but for its two products."""
    return reference.compute(request, _logits, _sum_of_values)


def _logits(request: Request, visible: Array, at: tuple[Array, ...]) -> Float[Array, "b h 1 s"]:
    (query, key, value), dtype = request.arrays, request.dtype
    poison: Array | float = 0.0
    if request.score_mod is None:
        # A product with NaN is NaN, which tells of vectors that are not finite.
        q, k = (jnp.where(jnp.isfinite(x), x.astype(dtype), jnp.nan) for x in (query, key))
        if request.return_lse:
            poison = _of_keys(reference.finite_parts(query, key, value)[4], query)
    else:
        q, k, _, poison = reference.finite(query, key, value)
    logits = _dots(request.analysis.score, q, k, _seen(request, visible))
    return reference.modified(request, logits, visible, at) + poison


def _of_keys(x: Float[Array, "b s g"], query: Array) -> Float[Array, "b h 1 s"]:
    return jnp.repeat(x, query.shape[2] // x.shape[2], axis=2).transpose(0, 2, 1)[:, :, None]


def _seen(request: Request, visible: Array) -> Bool[Array, "#b #s #g #r 1"] | None:
    """The visible pairs, beside keys; None where all are."""
    if request.mask is None:
        return None
    seen, (_, g, r, _, _) = visible.transpose(0, 3, 1, 2), request.shape
    return seen.reshape(*seen.shape[:2], *((1, 1) if seen.shape[2] == 1 else (g, r)), 1)


def _dots(
    parts: Parts,
    q: Float[Array, "b 1 h d"],
    k: Float[Array, "b s g d"],
    seen: Bool[Array, "#b #s #g #r 1"] | None,
) -> Float[Array, "b h 1 s"]:
    """The products of the query with each key; of hidden ones neither they nor derivatives."""
    q, k = (
        x if function is None else jax.vmap(jax.vmap(jax.vmap(function)))(x)
        for x, function in ((q, parts.of_query), (k, parts.of_key))
    )
    (b, s, g, p), h = k.shape, q.shape[2]
    pairs = k[:, :, :, None] * (q * parts.scale).reshape(b, 1, g, h // g, p)
    kept = pairs if seen is None else jnp.where(seen, pairs, 0)
    return kept.sum(-1).reshape(b, s, h).transpose(0, 2, 1)[:, :, None]


def _sum_of_values(
    request: Request, weights: Float[Array, "b h 1 s"], visible: Array
) -> Float[Array, "b 1 h e"]:
    value, (b, g, r, _, s) = request.arrays[2], request.shape
    v = jnp.where(jnp.isfinite(value), value.astype(request.dtype), jnp.nan)
    pairs = weights.transpose(0, 3, 1, 2).reshape(b, s, g, r, 1) * v[:, :, :, None]
    seen = _seen(request, visible)
    kept = pairs if seen is None else jnp.where(seen, pairs, 0)
    return kept.sum(1).reshape(b, 1, g * r, value.shape[-1])


def refuse(request: Request) -> str | None:
    """Needs one query, and a score that is a product of two vectors."""
    if request.shape.t != 1:
        return f"it computes one query a sequence; got {request.shape.t}."
    parts = request.analysis.score
    if parts.pair is not None or any(parts.guarded):
        return "it computes products of two vectors, and `score` is another function."
    return None


def prefer(request: Request) -> str | None:
    """Picked for one query on a CPU."""
    del request
    if jax.default_backend() != "cpu":
        return None
    return "one query a sequence reads keys where they lie"


def plan(request: Request) -> Plan:
    """All scores at once."""
    return Plan("one_query", temporary_bytes=dense_bytes(request))


IMPLEMENTATION = Implementation(
    "one_query",
    rank=45,
    refuse=refuse,
    prefer=prefer,
    run=run,
    plan=plan,
    tile=lambda request: None,
    symbolic="b",
)
