"""Maps H = I - b w w^T of positions, computed from the layer's input: for `path`.

b = 2 sigmoid(u x + c)    w = unit(convolve(U D x))
"""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Params
from attention_jax.variants._builders import inputs
from attention_jax.variants._builders.delta import unit
from attention_jax.variants._builders.documents import Runs
from attention_jax.variants._builders.recurrence import convolve


def init(
    rank: int,
    convolution: int | None,
    key: PRNGKeyArray,
    *,
    width: int,
    heads: int,
    kv_heads: int,
    head_width: int,
) -> Params:
    """The parameters, with taps where a convolution spans more than None."""
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


def features(params: Params, x: Float[Array, "b t m"]) -> dict[str, Array]:
    """Strengths, and directions before their convolution."""
    wide = x.astype(wide_dtype(x))
    logits = inputs.mapped(params["strength"], wide) + params["bias"].astype(wide.dtype)[None, None]
    across = inputs.mapped(params["up"], inputs.mapped(params["down"], wide))
    return {"strength": 2 * jax.nn.sigmoid(logits), "direction": across}


def directions(
    params: Params,
    before: Float[Array, "b n g d"],
    w: Float[Array, "b t g d"],
    runs: Runs | None = None,
) -> Float[Array, "b t g d"]:
    """Directions of length 1, after the convolution with those before."""
    if "taps" in params:
        taps = jnp.repeat(params["taps"], w.shape[2] // len(params["taps"]), axis=0)
        w = convolve(taps, w, jnp.concatenate([before, w], axis=1), runs=runs)
    return unit(w)


def spread(features: dict[str, Array], heads: int, dtype: DTypeLike) -> tuple[Array, Array]:
    """Strengths and directions of all key heads, of which several may share those of one."""
    strength, w = (features[x].astype(dtype) for x in ("strength", "direction"))
    times = heads // w.shape[2]
    return jnp.repeat(strength, times, axis=2), jnp.repeat(w, times, axis=2)
