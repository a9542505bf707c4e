"""Multi-head latent attention (MLA): a position is kept as one short vector for all heads.

    c_j = norm(sum_h D_h^K k_j + D_h^V v_j)         of width `latent_width`, mean square 1
    r_j = rotate(sum_h D_h^R k_j)                   of width `rotary_width`, by the position
    score[h, i, j] = ((U_h^K q_i) . c_j + rotate(q'_i) . r_j) / sqrt(d)
    out_(i h) = U_h^V sum_j weight c_j

q_i are the first channels of a query and q'_i its last, as many as r has. U_h^K q_i stands for
q_i . (U_h^K)^T c_j, so no key or value is ever built again from c: what `step` keeps of the past is
c and r alone. The paper projects c and r from the layer's input; here they come from the keys and
values of all heads, linear maps of that input. Rotation takes the place of the layer's: use it with
`positions` "none". Values may be narrower than keys; they use the first rows of their maps. The
gain of the norm is part of the maps U. With `query_latent_width`, queries pass a latent too.

Reference: DeepSeek-AI 2024, arXiv:2405.04434, equations 9 to 19; norm: section 3.1.2.
Cost: t s (2 n + r) products a head for a latent of width n, and (t + s) n (d + e) for the maps;
n + r numbers a position of state.
"""

from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attention_jax.core import checks
from attention_jax.core.types import Options, Output, Params, Variant
from attention_jax.variants._builders import kept, latents
from attention_jax.variants._builders.latents import Form
from attention_jax.variants._builders.options import refuse_hidden

ALIASES = ("mla",)


class Cache(NamedTuple):
    """The latents so far, with rotated keys behind them, and the position of the next."""

    latents: Float[Array, "b s n"]
    position: Int[Array, " b"]


def latent(
    *,
    latent_width: int | None = None,
    normalize: bool = True,
    rotary_width: int | None = None,
    query_latent_width: int | None = None,
    base: float = 10_000.0,
) -> Variant:
    """The scaled dot product over latents.

    Args:
      latent_width: of what is kept of a position; None for four times that of a head, as in the
        paper.
      normalize: whether latents are brought to mean square 1.
      rotary_width: channels of a query that are rotated, even; None for a third of a head, as in
        the paper, 0 for none.
      query_latent_width: of a latent of queries; None for none.
      base: of the rates of rotation.
    """
    for name, width in (("latent_width", latent_width), ("query_latent_width", query_latent_width)):
        if width is not None:
            checks.positive(name, width)
    checks.above_zero("base", base)
    if rotary_width is not None:
        checks.natural("rotary_width", rotary_width)
        if rotary_width % 2:
            raise ValueError(f"`rotary_width` must be even; got {rotary_width}. Leave one out.")
    form = Form(latent_width, normalize, rotary_width, query_latent_width, base)
    extend = partial(_extend, form)
    attend, step = partial(_attend, form), kept.step_of(extend)
    return Variant(partial(latents.init, form), attend, _start, step, extend=extend)


def _attend(
    form: Form, params: Params, q: Array, k: Array, v: Array, options: Options = Options()
) -> Output:
    checks.attention_arrays(q, k, v)
    at = options.key_offset + jnp.arange(k.shape[1], dtype=jnp.int32)
    found = latents.of_keys(form, params, k, v, at)
    return latents.read(form, params, q, found, v.shape[-1], options)


def _extend(
    form: Form,
    params: Params,
    state: Cache,
    q: Array,
    k: Array,
    v: Array,
    visible: Array | None = None,
) -> tuple[Cache, Float[Array, "b t h e"]]:
    refuse_hidden("latent", visible)
    first = state.position
    at = first[:, None] + jnp.arange(q.shape[1], dtype=jnp.int32)[None]
    (found,), room = kept.put([state.latents], [latents.of_keys(form, params, k, v, at)], first)
    out: Any = latents.read(form, params, q, found, v.shape[-1], Options(kept.up_to(first)), at)
    return Cache(found, first + q.shape[1]), jnp.where(room, out, jnp.nan)


def _start(params: Params, batch: int, length: int, *, dtype: Any, **sizes: Any) -> Cache:
    del sizes
    rotary = params["down_rotary"].shape[-1] if "down_rotary" in params else 0
    empty = jnp.zeros((batch, length, params["up_key"].shape[-1] + rotary), dtype)
    return Cache(empty, jnp.zeros(batch, jnp.int32))
