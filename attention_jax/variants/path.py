"""PaTH: positions by what lies between, as a product of a map for every position after the key.

    weight[i, j] = softmax_j(q_i^T H_i H_(i-1) ... H_(j+1) k_j / sqrt(d))    j <= i
    H_t = I - b_t w_t w_t^T    b_t = 2 sigmoid(u x_t + c)
    w_t = unit(convolve(U D x_t))

x is the layer's input. Where b is 2 a map is a reflection, so that what lies between can swap,
flip and count, where a rotary encoding turns by the distance alone; b = 0 leaves all as it is,
without any position. Heads that share a key share its maps. The forget gate that the paper adds in
PaTH-FoX is left out; its low rank of D is kept where heads share keys too, for which the authors
take a full map; their code has a SiLU after the convolution. A hidden position moves nothing.

Reference: Yang et al. 2025, arXiv:2505.16381, sections 2 and 3.
Cost: t s (2 d + e + d^2 / 64) products a head, those of later keys included, and t 64 (4 d) within
chunks; s (d + e) numbers of state, and s 2 d products to move it by a step of decoding.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attention_jax.core import checks
from attention_jax.core.types import Options, Params, Variant
from attention_jax.variants._builders import (
    householder,
    householder_cache,
    householder_maps,
    keywise,
)
from attention_jax.variants._builders.compiled import compiled, compiled_extension
from attention_jax.variants._builders.householder_cache import Cache
from attention_jax.variants._builders.options import refuse_hidden

ALIASES = ("path_attention", "householder")


class State(NamedTuple):
    """The positions so far, and the last directions before their convolution."""

    cache: Cache
    directions: Float[Array, "b n g d"]


def path(*, rank: int = 32, convolution: int | None = 3) -> Variant:
    """The scaled dot product after a product of learned maps.

    Args:
      rank: of the map from the layer's input to directions w.
      convolution: positions that the short causal convolution of directions spans; None for none.
    """
    checks.positive("rank", rank)
    if convolution is not None:
        checks.positive("convolution", convolution, remedy="Use None for no convolution.")
    init, start = (
        partial(householder_maps.init, rank, convolution),
        partial(_start, (convolution or 1) - 1),
    )
    made = Variant(init, compiled(_attend), start, _step, roles=("causal",), mask_kind="keywise")
    return made._replace(features=householder_maps.features, extend=compiled_extension(_extend))


def _attend(
    params: Params,
    q: Array,
    k: Array,
    v: Array,
    options: Options = Options(),
    *,
    features: dict[str, Array],
) -> Array:
    checks.dropout(options.dropout_rate, options.dropout_key)
    asked = options._replace(dropout_rate=0.0, dropout_key=None)
    got = keywise.prepare("path", q, k, v, asked, packs=True)
    keywise.only_causal("path", got.causal)
    strength, w = householder_maps.spread(features, k.shape[2], got.q.dtype)
    shown = got.visible[..., None, None]
    w = jnp.where(shown, w, 0)
    back = params["taps"].shape[1] - 1 if "taps" in params else 0
    before = jnp.zeros((w.shape[0], back, *w.shape[2:]), w.dtype)
    w = jnp.where(shown, householder_maps.directions(params, before, w, got.runs), 0)
    arrays = got.q * q.shape[-1] ** -0.5, got.k, got.v, w, strength
    first = None if got.runs is None else got.runs.start
    out = householder.mixed(*arrays, visible=got.visible, first=first, options=options)
    return keywise.finalize(got, out, q.dtype)


def _start(
    back: int, params: Params, batch: int, length: int, *, heads: int, **sizes: Any
) -> State:
    del params, heads
    cache = householder_cache.empty(batch, length, **sizes)
    shape = batch, back, sizes["kv_heads"], sizes["head_width"]
    return State(cache, jnp.zeros(shape, cache.keys.dtype))


def _step(
    params: Params, state: State, q: Array, k: Array, v: Array, features: dict[str, Array]
) -> tuple[State, Array]:
    one = jax.tree.map(lambda x: x[:, None], features)
    arrays, before = _next(params, state, q[:, None], k[:, None], v[:, None], one)
    cache, out = householder_cache.step(state.cache, *(x[:, 0] for x in arrays))
    return State(cache, before), out.astype(q.dtype)


def _extend(
    params: Params,
    state: State,
    q: Array,
    k: Array,
    v: Array,
    visible: Array | None = None,
    *,
    features: dict[str, Array],
) -> tuple[State, Array]:
    refuse_hidden("path", visible)
    arrays, before = _next(params, state, q, k, v, features)
    cache, out = householder_cache.extend(state.cache, *arrays)
    return State(cache, before), out.astype(q.dtype)


def _next(
    params: Params, state: State, q: Array, k: Array, v: Array, features: dict[str, Array]
) -> tuple[tuple[Array, ...], Array]:
    """Query, key, value, direction and strength of positions, and the last directions."""
    before, dtype = state.directions, state.cache.keys.dtype
    strength, w = householder_maps.spread(features, k.shape[2], dtype)
    scaled = q.astype(dtype) * q.shape[-1] ** -0.5
    last = jnp.concatenate([before, w], axis=1)[:, w.shape[1] :]
    return (scaled, k, v, householder_maps.directions(params, before, w), strength), last
