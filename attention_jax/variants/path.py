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
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Params, Variant
from attention_jax.variants._builders import householder, householder_cache, inputs, keywise
from attention_jax.variants._builders.compiled import compiled
from attention_jax.variants._builders.delta import unit
from attention_jax.variants._builders.householder_cache import Cache
from attention_jax.variants._builders.recurrence import convolve

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
    init, start = partial(_init, rank, convolution), partial(_start, (convolution or 1) - 1)
    made = Variant(init, compiled(_attend), start, _step, roles=("causal",), mask_kind="keywise")
    return made._replace(features=_features)


def _init(
    rank: int,
    convolution: int | None,
    key: PRNGKeyArray,
    *,
    width: int,
    heads: int,
    kv_heads: int,
    head_width: int,
) -> Params:
    del heads
    keys = jax.random.split(key, 4)
    params = {
        "down": inputs.linear(keys[0], width, rank),
        "up": inputs.linear(keys[1], rank, kv_heads, head_width),
        "strength": inputs.linear(keys[2], width, kv_heads),
        "bias": jnp.zeros(kv_heads),
    }
    if convolution is not None:
        most, shape = convolution**-0.5, (kv_heads, convolution, head_width)
        params["taps"] = jax.random.uniform(keys[3], shape, minval=-most, maxval=most)
    return params


def _features(params: Params, x: Float[Array, "b t m"]) -> dict[str, Array]:
    wide = x.astype(wide_dtype(x))
    logits = inputs.mapped(params["strength"], wide) + params["bias"].astype(wide.dtype)[None, None]
    directions = inputs.mapped(params["up"], inputs.mapped(params["down"], wide))
    return {"strength": 2 * jax.nn.sigmoid(logits), "direction": directions}


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
    got = keywise.prepare("path", q, k, v, options._replace(dropout_rate=0.0, dropout_key=None))
    keywise.only_causal("path", got.causal)
    strength, w = _spread(features, k.shape[2], got.q.dtype)
    shown = got.visible[..., None, None]
    w = jnp.where(shown, w, 0)
    back = params["taps"].shape[1] - 1 if "taps" in params else 0
    before = jnp.zeros((w.shape[0], back, *w.shape[2:]), w.dtype)
    w = jnp.where(shown, _directions(params, before, w), 0)
    arrays = got.q * q.shape[-1] ** -0.5, got.k, got.v, w, strength
    out = householder.mixed(*arrays, visible=got.visible, options=options)
    return keywise.finalize(got, out, q.dtype)


def _directions(
    params: Params, before: Float[Array, "b n g d"], w: Float[Array, "b t g d"]
) -> Float[Array, "b t g d"]:
    """Directions of length 1, after the convolution with those before."""
    if "taps" in params:
        taps = jnp.repeat(params["taps"], w.shape[2] // len(params["taps"]), axis=0)
        w = convolve(taps, w, jnp.concatenate([before, w], axis=1))
    return unit(w)


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
    cache, before = state
    dtype, one = cache.keys.dtype, jax.tree.map(lambda x: x[:, None], features)
    strength, w = _spread(one, k.shape[1], dtype)
    own = _directions(params, before, w)[:, 0], strength[:, 0]
    scaled = q.astype(dtype) * q.shape[-1] ** -0.5
    cache, out = householder_cache.step(cache, scaled, k, v, *own)
    before = jnp.concatenate([before, w], axis=1)[:, 1:]
    return State(cache, before), out.astype(q.dtype)


def _spread(features: dict[str, Array], heads: int, dtype: DTypeLike) -> tuple[Array, Array]:
    """Strengths and directions of all key heads, of which several may share those of one."""
    strength, w = (features[x].astype(dtype) for x in ("strength", "direction"))
    times = heads // w.shape[2]
    return jnp.repeat(strength, times, axis=2), jnp.repeat(w, times, axis=2)
