"""Steps, gates, skips and shifts of heads, as Mamba-2 has them: for variants that keep its sums.

    D_t = softplus(W u_t + bias)    log_decay = -D_t rate    C, D B, x = silu(convolve(.) + shift)
    out_t = norm(silu(Z u_t) (y_t + skip x_t))

u is the layer's input; C, B and x are made of q, k and v.

Reference: Dao and Gu 2024, arXiv:2405.21060, section 7.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Params
from attention_jax.variants._builders import inputs, recurrence
from attention_jax.variants._builders.linear import root_mean_square_norm
from attention_jax.variants._builders.recurrence import Given


def init(
    convolution: int | None,
    key: PRNGKeyArray,
    *,
    width: int,
    heads: int,
    head_width: int,
) -> Params:
    """The parameters, with taps where a convolution spans more than None."""
    keys = jax.random.split(key, 5)
    params = {
        "step": inputs.linear(keys[0], width, heads),
        "gate": inputs.linear(keys[1], width, heads, head_width),
        "skip": jnp.ones(heads),
        **inputs.rates(jax.random.split(keys[2]), heads),
    }
    if convolution is None:
        return params
    most, shape = convolution**-0.5, (heads, head_width)
    shift = {
        name: jax.random.uniform(own, shape, minval=-most, maxval=most)
        for name, own in zip("qkv", jax.random.split(keys[3], 3), strict=True)
    }
    taps = recurrence.taps(keys[4], heads, convolution, head_width)
    return params | {"taps": taps, "shift": shift}


def finished(
    normalize: bool, given: Given, out: Array, q: Array, k: Array, v: Array, *others: Array | None
) -> Array:
    """The gated outputs of all heads, brought together to mean square 1 where asked."""
    del q, k, others
    y = out + given.params["skip"].astype(v.dtype)[None, None, :, None] * v
    y = y * jax.nn.silu(given.features["gate"][..., : v.shape[-1]].astype(y.dtype))
    if not normalize:
        return y
    return root_mean_square_norm(y.reshape(*y.shape[:2], -1)).reshape(y.shape)


def features(params: Params, x: Float[Array, "b t m"]) -> dict[str, Array]:
    """The steps, and the logits of the gates."""
    wide = x.astype(wide_dtype(x))
    step, gate = (inputs.mapped(params[name], wide) for name in ("step", "gate"))
    return {"step": inputs.step_size(params, step), "gate": gate}


def arrays(given: Given, q: Array, k: Array, v: Array) -> tuple[Array, ...]:
    """C, D B, x and the log-decay."""
    shift = given.params.get("shift", {})
    of = {"q": q, "k": k, "v": v}
    for name, own in shift.items():
        of[name] = of[name] + own[:, : of[name].shape[-1]].astype(q.dtype)[None, None]
    read, write, x = map(jax.nn.silu, of.values())
    steps = given.shown(given.features["step"].astype(q.dtype))
    log_decay = given.decay(inputs.faded(given.params, steps)[..., None])
    return read, steps[..., None] * write, given.shown(x), log_decay
