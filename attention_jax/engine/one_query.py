"""Attention of one query a sequence, as decoding asks: products and sums where the keys lie.

A matrix product would first copy all keys, to bring their heads to the front. Here each is read
once, and the scores alone are held. XLA fuses a sum with a product, and with nothing else; so the
guards against hidden vectors that are not finite stand where derivatives are asked, or where such a
vector shows itself.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from attention_jax.engine import partition, reference
from attention_jax.engine.implementation import Implementation, Output, Plan, dense_bytes
from attention_jax.engine.request import Request

Seen = Bool[Array, "#b #s #g #r 1"]
Product = Callable[[Seen, Array, Array], Array]


def run(request: Request) -> Output:
    """Computes a request as `reference` does, but for its two products."""
    return reference.compute(request, _logits, _sum_of_values)


def _logits(request: Request, visible: Array, at: tuple[Array, ...]) -> Float[Array, "b h 1 s"]:
    query, key, value = request.arrays
    parts, (b, g, r, _, s) = request.analysis.score, request.shape
    q, k = (
        x if function is None else jax.vmap(jax.vmap(jax.vmap(function)))(x)
        for x, function in (
            (query.astype(request.dtype), parts.of_query),
            (key.astype(request.dtype), parts.of_key),
        )
    )
    own = (q * parts.scale).reshape(b, 1, g, r, -1)
    dots = _quick(_dots, _guarded_dots)(_seen(request, visible), own, k[:, :, :, None])
    dots = dots.reshape(b, s, g * r).transpose(0, 2, 1)[:, :, None]
    good = jnp.isfinite(dots)
    logits = reference.modified(request, jnp.where(good, dots, 0), visible, at)
    if request.return_lse:  # which a value that is not finite reaches too
        of_key = reference.finite_parts(query, key, value)[4]
        logits += jnp.repeat(of_key, r, axis=2).transpose(0, 2, 1)[:, :, None]
    return jnp.where(good, logits, jnp.nan)


def _sum_of_values(
    request: Request, weights: Float[Array, "b h 1 s"], visible: Array
) -> Float[Array, "b 1 h e"]:
    value, (b, g, r, _, s) = request.arrays[2], request.shape
    own = weights.transpose(0, 3, 1, 2).reshape(b, s, g, r, 1)
    v = value.astype(request.dtype)[:, :, :, None]
    out = _quick(_sums, _guarded_sums)(_seen(request, visible), own, v)
    return out.reshape(b, 1, g * r, value.shape[-1])


def _seen(request: Request, visible: Array) -> Seen:
    """The visible pairs, beside keys."""
    seen, (_, g, r, _, _) = visible.transpose(0, 3, 1, 2), request.shape
    return seen.reshape(*seen.shape[:2], *((1, 1) if seen.shape[2] == 1 else (g, r)), 1)


def _quick(fast: Product, guarded: Product) -> Product:
    """`fast`, whose derivative is that of `guarded`."""

    @jax.custom_jvp
    def product(seen: Seen, x: Array, y: Array) -> Array:
        return fast(seen, x, y)

    @product.defjvp
    def product_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
        seen, *arrays = primals
        return jax.jvp(lambda x, y: guarded(seen, x, y), tuple(arrays), tangents[1:])

    return product


def _dots(seen: Seen, q: Array, k: Array) -> Float[Array, "b s g r"]:
    del seen
    return (k * q).sum(-1)


def _guarded_dots(seen: Seen, q: Array, k: Array) -> Float[Array, "b s g r"]:
    q, k = (jnp.where(jnp.isfinite(x), x, jnp.nan) for x in (q, k))
    return (jnp.where(seen, k, 0) * q).sum(-1)


def _sums(seen: Seen, weights: Array, v: Array) -> Float[Array, "b g r e"]:
    out = (weights * v).sum(1)
    return lax.cond(jnp.isfinite(out).all(), lambda: out, lambda: _guarded_sums(seen, weights, v))


def _guarded_sums(seen: Seen, weights: Array, v: Array) -> Float[Array, "b g r e"]:
    v = jnp.where(jnp.isfinite(v), v, jnp.nan)
    return (weights * jnp.where(seen, v, 0)).sum(1)


def refuse(request: Request) -> str | None:
    """Needs one query, and a score that is a product of two vectors."""
    if request.shape.t != 1:
        return f"it computes one query a sequence; got {request.shape.t}."
    parts = request.analysis.score
    if parts.pair is not None or any(parts.guarded):
        return "it computes products of two vectors, and `score` is another function."
    return None


def prefer(request: Request) -> str | None:
    """Picked for one query on a CPU, where no devices would have to agree on what is finite."""
    del request
    if jax.default_backend() != "cpu" or partition.devices() > 1:
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
