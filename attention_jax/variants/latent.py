"""Multi-head latent attention (MLA): a position is kept as one short vector for all heads.

    c_j = norm(sum_h D_h^K k_j + D_h^V v_j)         of width `latent_width`, mean square 1
    score[h, i, j] = (U_h^K q_i) . c_j / sqrt(d)    out_(i h) = U_h^V sum_j weight c_j

U_h^K q_i stands for q_i . (U_h^K)^T c_j, so no key or value is ever built again from c: what `step`
keeps of the past is c alone. The paper projects c from the layer's input; here it comes from the
keys and values of all heads, linear maps of that input. It has also a rotary key of its own beside
c and a latent for queries, which are left out: where the layer rotates keys, c takes them in as
they are. Values may be narrower than keys; they use the first rows of their maps. The gain of the
norm is part of the maps U.

Reference: DeepSeek-AI 2024, arXiv:2405.04434, equations 9 to 11; norm: section 3.1.2.
Cost: t s 2 n products a head for a latent of width n, and (t + s) n (d + e) for the maps; n numbers
a position of state.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from attention_jax.core import checks, scores
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders import kept
from attention_jax.variants._builders.linear import root_mean_square_norm
from attention_jax.variants._builders.options import apply, refuse_hidden

ALIASES = ("mla",)


class Cache(NamedTuple):
    """The latents so far, and the position of the next."""

    latents: Float[Array, "b s n"]
    position: Int[Array, " b"]


def latent(*, latent_width: int | None = None, normalize: bool = True) -> Variant:
    """The scaled dot product over latents.

    Args:
      latent_width: of what is kept of a position; None for four times that of a head, as in the
        paper.
      normalize: whether latents are brought to mean square 1.
    """
    if latent_width is not None:
        checks.positive("latent_width", latent_width)
    finish = root_mean_square_norm if normalize else lambda latents: latents

    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del kv_heads
        return _maps(key, heads, head_width, latent_width or 4 * head_width)

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        checks.attention_arrays(q, k, v)
        latents = finish(_latents(params, k, v, wide_dtype(q, k, v)))
        return _read(params, q, latents, v.shape[-1], options)

    extend = partial(_extend, finish)

    return Variant(init, attend, _start, kept.step_of(extend), extend=extend)


def _extend(
    finish: Callable[[Array], Array],
    params: Params,
    state: Cache,
    q: Array,
    k: Array,
    v: Array,
    visible: Array | None = None,
) -> tuple[Cache, Float[Array, "b t h e"]]:
    refuse_hidden("latent", visible)
    new, first = finish(_latents(params, k, v, wide_dtype(q, k, v))), state.position
    (latents,), room = kept.put([state.latents], [new], first)
    out: Any = _read(params, q, latents, v.shape[-1], Options(kept.up_to(first)))
    return Cache(latents, first + q.shape[1]), jnp.where(room, out, jnp.nan)


def _maps(key: PRNGKeyArray, heads: int, head_width: int, width: int) -> dict[str, Array]:
    """D and U of each head, for latents of a width; what they make varies as what they take."""
    down = jax.nn.initializers.normal((2 * heads * head_width) ** -0.5)
    up = jax.nn.initializers.normal(width**-0.5)
    shape = (heads, head_width, width)
    names = {"down_key": down, "down_value": down, "up_key": up, "up_value": up}
    keys = jax.random.split(key, 4)
    return {n: draw(k, shape) for k, (n, draw) in zip(keys, names.items(), strict=True)}


def _start(params: Params, batch: int, length: int, *, dtype: Any, **sizes: Any) -> Cache:
    del sizes
    empty = jnp.zeros((batch, length, params["up_key"].shape[-1]), dtype)
    return Cache(empty, jnp.zeros(batch, jnp.int32))


def _latents(params: Params, k: Array, v: Array, dtype: Any) -> Float[Array, "b s n"]:
    """c before its norm; NaN where the keys or values of a position are not finite."""
    if v.shape[-1] > k.shape[-1]:
        raise ValueError(
            "Values of latent may be as wide as keys at most, for which its maps are made; got "
            f"{v.shape[-1]} and {k.shape[-1]}. Use wider heads, or narrower values."
        )
    total, fine = 0, jnp.asarray(True)
    for x, name in ((k, "down_key"), (v, "down_value")):
        # A NaN that is hidden would still reach the gradient of the map, as 0 * NaN.
        good = jnp.isfinite(x)
        down = params[name].astype(dtype)[:, : x.shape[-1]]
        # Heads of queries that share a key add up to one map of it.
        down = down.reshape(x.shape[2], -1, *down.shape[1:]).sum(1)
        total = total + jnp.einsum("bsgd,gdn->bsn", jnp.where(good, x.astype(dtype), 0), down)
        fine = fine & good.all((2, 3))
    return jnp.where(fine[..., None], total, jnp.nan)


def _read(params: Params, q: Array, latents: Array, value_width: int, options: Options) -> Output:
    dtype = wide_dtype(q, latents)
    up_key, up_value = (params[name].astype(dtype) for name in ("up_key", "up_value"))
    queries = jnp.einsum("bthd,hdn->bthn", q.astype(dtype) * q.shape[-1] ** -0.5, up_key)
    shared = latents[:, :, None]
    out = attention(queries, shared, shared, score=scores.dot, **options._asdict())

    def project(mixed: Array) -> Array:
        return jnp.einsum("bthn,hen->bthe", mixed, up_value[:, :value_width]).astype(q.dtype)

    return apply(project, out)
