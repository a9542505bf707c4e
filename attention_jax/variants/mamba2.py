"""Mamba-2: sums of values that fade by steps which each head takes from the layer's input.

    S_t = exp(-D_t rate) S_(t-1) + D_t B_t x_t^T    y_t = S_t^T C_t + skip x_t
    D_t = softplus(W u_t + bias)                    out_t = norm(silu(Z u_t) y_t)
    C, B, x = silu(convolve(.) + shift) of q, k, v

u is the layer's input, of which q, k and v are the layer's own projections. `norm` brings all
channels of all heads together to mean square 1; the paper's weights of it are those of the layer's
output map. A hidden key does not let the state fade either, and its `skip` is 0.

Reference: Dao and Gu 2024, arXiv:2405.21060, section 7.
Cost: t d e products a head for the states, and t 32 (d + e) within chunks; d e numbers of state.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders import chunked_scan, exchange, inputs, recurrence
from attention_jax.variants._builders.linear import root_mean_square_norm
from attention_jax.variants._builders.recurrence import Given, Recurrence, from_recurrence

ALIASES = ("ssd", "mamba_2")


def mamba2(*, convolution: int | None = 4, normalize: bool = True) -> Variant:
    """A state that fades by steps taken from the layer's input.

    Args:
      convolution: positions that the short causal convolution of queries, keys and values spans;
        None for none.
      normalize: whether the output is brought to mean square 1.
    """
    if convolution is not None:
        checks.positive("convolution", convolution, remedy="Use None for no convolution.")

    rule = Recurrence(
        arrays=_arrays,
        scan=chunked_scan.scan,
        moved=chunked_scan.added,
        before=exchange.state_before,
        step=chunked_scan.step,
        finish=partial(_finished, normalize),
    )
    init = partial(_init, convolution)
    return from_recurrence("mamba2", rule, init=init, features=_features, convolution=convolution)


def _init(
    convolution: int | None,
    key: PRNGKeyArray,
    *,
    width: int,
    heads: int,
    kv_heads: int,
    head_width: int,
) -> Params:
    del kv_heads
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


def _finished(
    normalize: bool, given: Given, out: Array, q: Array, k: Array, v: Array, decay: Array
) -> Array:
    del q, k, decay
    y = out + given.params["skip"].astype(v.dtype)[None, None, :, None] * v
    y = y * jax.nn.silu(given.features["gate"][..., : v.shape[-1]].astype(y.dtype))
    if not normalize:
        return y
    return root_mean_square_norm(y.reshape(*y.shape[:2], -1)).reshape(y.shape)


def _features(params: Params, x: Float[Array, "b t m"]) -> dict[str, Array]:
    wide = x.astype(wide_dtype(x))
    step, gate = (inputs.mapped(params[name], wide) for name in ("step", "gate"))
    return {"step": inputs.step_size(params, step), "gate": gate}


def _arrays(given: Given, q: Array, k: Array, v: Array) -> tuple[Array, ...]:
    """C, D B, x and the log-decay."""
    shift = given.params.get("shift", {})
    of = {"q": q, "k": k, "v": v}
    for name, own in shift.items():
        of[name] = of[name] + own[:, : of[name].shape[-1]].astype(q.dtype)[None, None]
    read, write, x = map(jax.nn.silu, of.values())
    steps = given.shown(given.features["step"].astype(q.dtype))
    log_decay = given.decay(inputs.faded(given.params, steps)[..., None])
    return read, steps[..., None] * write, given.shown(x), log_decay
