"""Latents: one short vector for the keys and values of all heads, with a rotated key behind it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from attention_jax.core import positions, scores
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params
from attention_jax.engine.api import attention
from attention_jax.variants._builders.linear import root_mean_square_norm
from attention_jax.variants._builders.options import apply


class Form(NamedTuple):
    """The options of `latent`."""

    latent_width: int | None
    normalize: bool
    rotary_width: int | None
    query_latent_width: int | None
    base: float

    def rotary(self, head_width: int) -> int:
        """Channels that are rotated: as a third of a head, but even, where nothing is said."""
        own = head_width // 3 // 2 * 2 if self.rotary_width is None else self.rotary_width
        if own >= head_width:
            raise ValueError(
                f"`rotary_width` must be below the width of a head; got {own} and {head_width}. "
                "Rotate fewer channels, or use wider heads."
            )
        return own


def init(
    form: Form, key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int
) -> dict[str, Array]:
    """D and U of each head; what they make varies as what they take."""
    del kv_heads
    n, r = form.latent_width or 4 * head_width, form.rotary(head_width)
    maps = {
        "down_key": (head_width, n, 2 * heads * head_width),
        "down_value": (head_width, n, 2 * heads * head_width),
        "up_key": (head_width - r, n, n),
        "up_value": (head_width, n, n),
    }
    if form.rotary_width != 0:
        maps["down_rotary"] = head_width, r, heads * head_width
    if form.query_latent_width is not None:
        maps["down_query"] = head_width, form.query_latent_width, heads * head_width
        maps["up_query"] = head_width, form.query_latent_width, form.query_latent_width
    keys = jax.random.split(key, len(maps))
    return {
        name: fan_in**-0.5 * jax.random.normal(own, (heads, *shape))
        for own, (name, (*shape, fan_in)) in zip(keys, maps.items(), strict=True)
    }


def of_keys(
    form: Form, params: Params, k: Array, v: Array, at: Int[Array, "*b s"]
) -> Float[Array, "b s n"]:
    """c and r; NaN where the keys or values of a position are not finite."""
    if v.shape[-1] > k.shape[-1]:
        raise ValueError(
            "Values of latent may be as wide as keys at most, for which its maps are made; got "
            f"{v.shape[-1]} and {k.shape[-1]}. Use wider heads, or narrower values."
        )
    dtype = wide_dtype(k, v)
    # A NaN that is hidden would still reach the gradient of the map, as 0 * NaN.
    fine = jnp.isfinite(k).all((2, 3)) & jnp.isfinite(v).all((2, 3))
    k, v = (jnp.where(jnp.isfinite(x), x.astype(dtype), 0) for x in (k, v))
    found = _joined(params["down_key"], k) + _joined(params["down_value"], v)
    found = root_mean_square_norm(found) if form.normalize else found
    if "down_rotary" in params and params["down_rotary"].size:
        rotary = positions.rope(_joined(params["down_rotary"], k)[:, :, None], at, base=form.base)
        found = jnp.concatenate([found, rotary[:, :, 0]], axis=-1)
    return jnp.where(fine[..., None], found, jnp.nan)


def _joined(down: Float[Array, "h d n"], x: Float[Array, "b s g e"]) -> Float[Array, "b s n"]:
    """The sum of the maps of all heads; those of queries that share a key add up to one of it."""
    down = down.astype(x.dtype)[:, : x.shape[-1]]
    down = down.reshape(x.shape[2], -1, *down.shape[1:]).sum(1)
    return jnp.einsum("bsgd,gdn->bsn", x, down)


def read(
    form: Form,
    params: Params,
    q: Array,
    latents: Array,
    value_width: int,
    options: Options,
    at: Int[Array, "b t"] | None = None,
) -> Output:
    """Attention of queries to latents; they stand at `at`, or where the options say."""
    dtype, narrow = wide_dtype(q, latents), q.dtype
    own = {name: x.astype(dtype) for name, x in params.items()}
    q, n = q.astype(dtype), own["up_key"].shape[-1]
    if "down_query" in own:
        of_query = root_mean_square_norm(_joined(own["down_query"], q))
        q = jnp.einsum("btm,hdm->bthd", of_query, own["up_query"])
    q, r = q * q.shape[-1] ** -0.5, latents.shape[-1] - n
    queries = jnp.einsum("bthd,hdn->bthn", q[..., : q.shape[-1] - r], own["up_key"])
    if r:
        places = options.query_offset + jnp.arange(q.shape[1]) if at is None else at
        turned = positions.rope(q[..., q.shape[-1] - r :], places, base=form.base)
        queries = jnp.concatenate([queries, turned], axis=-1)
    shared = latents[:, :, None]
    out = attention(queries, shared, shared[..., :n], score=scores.dot, **options._asdict())

    def project(mixed: Array) -> Array:
        return jnp.einsum("bthn,hen->bthe", mixed, own["up_value"][:, :value_width]).astype(narrow)

    return apply(project, out)
