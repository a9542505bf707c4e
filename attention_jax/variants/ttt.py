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
Cost: t 3 d e products a head for the model, 7 d e from a state on and for packed documents, and
t 16 (d + e) within batches; 2 d e numbers of state.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders import inner_steps, inputs
from attention_jax.variants._builders.documents import seen_before
from attention_jax.variants._builders.inner_carry import inner_carried
from attention_jax.variants._builders.inner_steps import InnerState, Norm
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
        finish=lambda given, out, *arrays: out,
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


def _arrays(given: Given, q: Array, k: Array, v: Array) -> tuple[Array | None, ...]:
    """Query, `given.since`, key, value, step size, what was seen, and model and norm for all."""
    made = _model(given.params, v.shape[-1], v.dtype)
    rate = given.shown(given.features.astype(v.dtype))
    seen = seen_before(given.runs, given.visible[..., None])[..., 0]
    return q, given.since, k, v, rate, seen, *(x[None, None] for x in made)


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


def _scan(
    batch: int, q: Array, since: Array | None, *others: Array, start: InnerState | None
) -> tuple[InnerState | None, Float[Array, "b t h e"]]:
    k, v, rate, seen, *rest = others
    weights, bias, scale, shift = (x[0, 0] for x in rest)
    norm, given = Norm(scale, shift), (q, k, _target(k, v), rate)
    state = None
    if start is None and since is None:
        many = lambda x: jnp.broadcast_to(x, (q.shape[0], *x.shape))  # noqa: E731
        z = inner_steps.inner_scan((many(weights), many(bias)), norm, *given, batch=batch)
    else:
        first = weights, bias
        state, z = inner_carried(first, norm, *given, since=since, start=start, batch=batch)
        seen = seen | state.seen[:, None]
        state = state._replace(seen=seen[:, -1])
    # The first model has an answer, but nothing was asked of it yet.
    return state, jnp.where(seen[..., None, None], _answer(norm, q, z), 0)


def _step(
    batch: int, state: InnerState, q: Array, since: None, *others: Array
) -> tuple[InnerState, Array]:
    del since
    k, v, rate, _, *rest = others
    weights, bias, *norm = (x[0] for x in rest)
    given = q, k, _target(k, v), rate
    state, z = inner_steps.inner_step(state, (weights, bias), Norm(*norm), *given, batch=batch)
    return state, _answer(Norm(*norm), q, z)


def _target(k: Array, v: Array) -> Array:
    return v - k[..., : v.shape[-1]]


def _answer(norm: Norm, q: Array, z: Array) -> Array:
    return q[..., : z.shape[-1]] + norm.normed(z)


def _empty(params: Params, length: int, shape: tuple[int, ...], dtype: DTypeLike) -> InnerState:
    del length
    _check_width(shape[-1], params["scale"].shape[-1])
    return inner_steps.inner_empty(shape, dtype)
