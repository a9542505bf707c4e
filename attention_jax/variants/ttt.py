"""Test-time training (TTT-linear): a state that is a model, which each key trains on its value.

    f(x; W, b) = x + scale norm(W^T x + b) + shift
    W_t, b_t = W, b - sum_(j <= t) eta_j gradient of half |f(k_j; W, b) - v_j|^2 at W, b
    out_t = f(q_t; W_t, b_t)    eta_j = rate sigmoid(u x_j + c) / d

x is the layer's input. W and b without an index are the model before the batch of t, of 16
positions, whose gradients are all taken there; the first model is learned. `norm` brings a head to
mean 0 and variance 1. Half the square stands for the paper's square, as in the authors' code, which
leaves the 2 to eta. Values narrower than keys are compared with the first channels of f's x, and
cannot be wider. The layer's own norm and gate of the output are left to it, and so are convolutions
and rotary positions of q and k. A hidden position takes no step, but its place in a batch; a query
before which all is hidden gives 0.

Reference: Sun et al. 2024, arXiv:2407.04620, section 2; eta: section 2.7.
Cost: t 3 d e products a head for the model, and t 16 (d + e) within batches; 2 d e numbers of
state.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders import inputs
from attention_jax.variants._builders.inner_steps import (
    InnerState,
    Norm,
    inner_empty,
    inner_scan,
    inner_step,
)
from attention_jax.variants._builders.recurrence import Given, Recurrence, from_recurrence

ALIASES = ("ttt_linear", "test_time_training")


def ttt(*, batch: int = 16, rate: float = 1.0) -> Variant:
    """A linear model trained by every key.

    Args:
      batch: positions whose gradients are taken at one model.
      rate: the largest step, times the width of a head.
    """
    checks.positive("batch", batch)
    checks.above_zero("rate", rate)
    rule = Recurrence(
        arrays=_arrays,
        scan=partial(_scan, batch),
        step=partial(_step, batch),
        finish=_finish,
        empty=_empty,
    )
    return from_recurrence("ttt", rule, init=_init, features=partial(_features, rate))


def _init(key: PRNGKeyArray, *, width: int, heads: int, kv_heads: int, head_width: int) -> Params:
    del kv_heads
    keys, shape = jax.random.split(key), (heads, head_width)
    return {
        "weights": 0.02 * jax.random.normal(keys[0], (*shape, head_width)),
        "bias": jnp.zeros(shape),
        "scale": jnp.ones(shape),
        "shift": jnp.zeros(shape),
        "rate": inputs.linear(keys[1], width, heads),
        "rate_bias": jnp.zeros(heads),
    }


def _features(rate: float, params: Params, x: Float[Array, "b t m"]) -> Float[Array, "b t h"]:
    """The step sizes."""
    wide = x.astype(wide_dtype(x))
    bias = params["rate_bias"].astype(wide.dtype)[None, None]
    most = rate / params["scale"].shape[-1]
    return most * jax.nn.sigmoid(inputs.mapped(params["rate"], wide) + bias)


def _arrays(given: Given, q: Array, k: Array, v: Array) -> tuple[Array, ...]:
    """Query, key, value, the step size, and the first model and its norm, alike for all."""
    made = _model(given.params, v.shape[-1], v.dtype)
    rate = given.shown(given.features.astype(v.dtype))
    return q, k, v, rate, *(x[None, None] for x in made)


def _model(params: Params, width: int, dtype: DTypeLike) -> tuple[Array, Array, Array, Array]:
    """The weights, bias, scale and shift for values of a width."""
    _check_width(width, params["scale"].shape[-1])
    names = "weights", "bias", "scale", "shift"
    weights, bias, scale, shift = (params[name].astype(dtype)[..., :width] for name in names)
    return weights, bias, scale, shift


def _check_width(width: int, most: int) -> None:
    """Raises where values are wider than keys.

    Raises:
      ValueError: they are.
    """
    if width > most:
        raise ValueError(
            "Values of ttt may be as wide as keys at most, for which its model is made; got "
            f"{width} and {most}. Use wider heads, or narrower values."
        )


def _scan(batch: int, *arrays: Array, start: None) -> tuple[None, Float[Array, "b t h e"]]:
    del start
    q, k, v, rate, *rest = arrays
    weights, bias, scale, shift = (x[0, 0] for x in rest)
    many = lambda x: jnp.broadcast_to(x, (q.shape[0], *x.shape))  # noqa: E731
    model, norm = (many(weights), many(bias)), Norm(scale, shift)
    trained = inner_scan(model, norm, q, k, _target(k, v), rate, batch=batch)
    return None, _answer(norm, q, trained)


def _step(batch: int, state: InnerState, *arrays: Array) -> tuple[InnerState, Array]:
    q, k, v, rate, *rest = arrays
    weights, bias, *norm = (x[0] for x in rest)
    given = q, k, _target(k, v), rate
    state, z = inner_step(state, (weights, bias), Norm(*norm), *given, batch=batch)
    return state, _answer(Norm(*norm), q, z)


def _target(k: Array, v: Array) -> Array:
    return v - k[..., : v.shape[-1]]


def _answer(norm: Norm, q: Array, z: Array) -> Array:
    return q[..., : z.shape[-1]] + norm.normed(z)


def _empty(params: Params, length: int, shape: tuple[int, ...], dtype: DTypeLike) -> InnerState:
    del length
    _check_width(shape[-1], params["scale"].shape[-1])
    return inner_empty(shape, dtype)


def _finish(given: Given, out: Array, *arrays: Array) -> Array:
    """The outputs, 0 before the first position that is seen."""
    del arrays
    seen = jnp.cumsum(given.visible.astype(jnp.int32), axis=1) > 0
    return jnp.where(seen[..., None, None], out, 0)
