"""Titans' neural memory: a matrix trained by surprise, which has momentum, and that forgets.

    S_t = eta_t S_(t-1) - theta_t gradient of |M^T k_t - v_t|^2 at M_(t-1)
    M_t = (1 - alpha_t) M_(t-1) + S_t        out_t = silu(G x_t) norm(M_t^T q_t)
    alpha, eta, theta = sigmoid(W x + bias), three numbers for each head

x is the layer's input. The memory is linear, the paper's L_M = 1; deeper ones, its persistent
tokens, and its ways to join it with attention (MAC, MAG, MAL) are left out. Gradients are exact, as
in the paper's equations, by a triangular system; with `batch` they are taken at the memory before
that many positions, as the paper trains. With alpha = eta = 0 it is the delta rule. Queries, keys
and values pass a short causal convolution and SiLU, queries and keys then have length 1; `norm`
brings each head's output to mean square 1. The paper leaves the ranges of gates open; here they are
sigmoids. A hidden position writes nothing, and lets neither matrix fade.

Reference: Behrouz et al. 2025, arXiv:2501.00663, section 3.1, equations 8 to 14; `batch`: section
3.2.
Cost: t 5 d e products a head for the matrices, and t 32 (5 d + 2 e + 64) within chunks; 2 d e
numbers of state, 3 d e with `batch`.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders import inputs, momentum_scan, recurrence
from attention_jax.variants._builders.delta import finished, shaped
from attention_jax.variants._builders.momentum_scan import MomentumState
from attention_jax.variants._builders.recurrence import Given, Recurrence, from_recurrence

ALIASES = ("neural_memory", "titan")
# Of the sigmoids: a memory that fades by a fiftieth at first, and moves in small steps.
_BIASES = {"forget": -4.0, "momentum": 0.0, "rate": -2.0}


def titans(
    *, batch: int | None = None, convolution: int | None = 4, normalize: bool = True
) -> Variant:
    """A memory trained by every key, with momentum.

    Args:
      batch: positions whose gradients are taken at one memory; None for each at the one before it.
      convolution: positions that the short causal convolution of queries, keys and values spans;
        None for none.
      normalize: whether each head's output is brought to mean square 1.
    """
    if batch is not None:
        checks.positive("batch", batch, remedy="Use None for exact gradients.")
    if convolution is not None:
        checks.positive("convolution", convolution, remedy="Use None for no convolution.")

    def scan(
        q: Array, since: Array | None, *others: Array, start: MomentumState | None
    ) -> tuple[MomentumState, Float[Array, "b t h e"]]:
        return momentum_scan.momentum_scan(q, *others, since=since, start=start, batch=batch)

    def step(
        state: MomentumState, q: Array, since: None, *others: Array
    ) -> tuple[MomentumState, Float[Array, "b h e"]]:
        del since
        return momentum_scan.momentum_step(state, q, *others, batch=batch)

    def empty(
        params: Params, length: int, shape: tuple[int, ...], dtype: DTypeLike
    ) -> MomentumState:
        del params, length
        return momentum_scan.momentum_empty(shape, dtype, batch)

    finish = partial(finished, normalize)
    rule = Recurrence(arrays=_arrays, scan=scan, step=step, finish=finish, empty=empty)
    init = partial(_init, convolution)
    return from_recurrence("titans", rule, init=init, features=_features, convolution=convolution)


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
        name: {"weights": inputs.linear(own, width, heads), "bias": jnp.full(heads, bias)}
        for own, (name, bias) in zip(keys, _BIASES.items(), strict=False)
    }
    params["gate"] = {"weights": inputs.linear(keys[3], width, heads, head_width)}
    if convolution is not None:
        params["taps"] = recurrence.taps(keys[4], heads, convolution, head_width)
    return params


def _features(params: Params, x: Float[Array, "b t m"]) -> dict[str, Array]:
    wide = x.astype(wide_dtype(x))
    logits = {
        name: inputs.mapped(params[name]["weights"], wide)
        + params[name]["bias"].astype(wide.dtype)[None, None]
        for name in _BIASES
    }
    return {
        "rate": jax.nn.sigmoid(logits["rate"]),
        # log(1 - sigmoid(x)) = log sigmoid(-x)
        "log_keep": jax.nn.log_sigmoid(-logits["forget"]),
        "log_momentum": jax.nn.log_sigmoid(logits["momentum"]),
        "gate": inputs.mapped(params["gate"]["weights"], wide),
    }


def _arrays(given: Given, q: Array, k: Array, v: Array) -> tuple[Array | None, ...]:
    """Query, `given.since`, key and value, theta, log(1 - alpha), log(eta) and what S adds."""
    rate, keep, momentum = (
        given.features[name].astype(q.dtype) for name in ("rate", "log_keep", "log_momentum")
    )
    # Of an S that stays, a hidden position would add as much again.
    adds = given.shown(jnp.ones_like(rate))
    gates = given.shown(rate), given.decay(keep), given.decay(momentum), adds
    q, *own = shaped(q, k, v)
    return q, given.since, *own, *gates
