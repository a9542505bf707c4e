"""Queries and keys that have a visible pair, in memory that grows with one length alone."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool

from attention_jax.core.types import MaskFunction
from attention_jax.engine.reference import visible_pairs
from attention_jax.engine.request import Request

# Positions of the other side that are looked at together.
TOGETHER = 256


def queries(request: Request) -> Bool[Array, "b t h"]:
    """True for each query that sees a key."""
    seen = _any(request, queries=True)
    return jnp.broadcast_to(seen.transpose(0, 2, 1), request.query.shape[:3])


def keys(request: Request) -> Bool[Array, "b s g"]:
    """True for each key that a query of its group sees."""
    seen, (b, g, r, _, s) = _any(request, queries=False), request.shape
    if seen.shape[1] > 1:
        seen = seen.reshape(-1, g, r, seen.shape[-1]).any(2)
    return jnp.broadcast_to(seen.transpose(0, 2, 1), (b, s, g))


def _any(request: Request, *, queries: bool) -> Bool[Array, "#b #h n"]:
    """For the queries, or for the keys, whether any pair with the other side is visible."""
    traced, (b, _, _, t, s) = request.analysis.mask, request.shape
    if traced is None:
        return jnp.ones((1, 1, t if queries else s), bool)
    mask: MaskFunction = traced.function
    own, others = (t, s) if queries else (s, t)
    # A mask that does not depend on the other side is asked at one position of it.
    others = others if traced.used[3 if queries else 2] else 1
    first, last = request.offsets if queries else request.offsets[::-1]
    count = partial(jnp.arange, dtype=jnp.int32)
    first, last = (jnp.asarray(x, jnp.int32) for x in (first, last))
    heads, here = (count(b), count(request.query.shape[2])), first + count(own)

    def look(start: Array) -> Array:
        there = last + jnp.minimum(start + count(min(TOGETHER, others)), others - 1)
        i, j = (here, there) if queries else (there, here)
        seen = visible_pairs(mask, (*heads, i, j)).any(3 if queries else 2)
        return jnp.broadcast_to(seen, (*seen.shape[:2], own))

    starts = count(0, others, TOGETHER)
    if len(starts) == 1:
        return look(starts[0])
    shape = jax.eval_shape(look, starts[0])
    nothing = jnp.zeros(shape.shape, bool)
    return lax.scan(lambda seen, start: (seen | look(start), None), nothing, starts)[0]
