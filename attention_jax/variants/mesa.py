"""MesaNet: at each position the best linear map from past keys to past values, by least squares.

    H_t = a_t H_(t-1) + b_t k_t k_t^T    G_t = a_t G_(t-1) + b_t k_t v_t^T
    out_t = norm(G_t^T (H_t + diag(ridge))^(-1) q_t)
    a_t, b_t = sigmoid(W x_t + bias), sigmoid(U x_t)    ridge = least + softplus(c), a channel

x is the layer's input. Without H it is gated linear attention; where the delta rule takes one step
towards such a map at each key, this is the map that fits all of them, weighed by b and by what has
faded. It is found by conjugate gradients, of which each costs as much as a pass. Queries, keys and
values pass a short causal convolution and SiLU, from which the authors leave out values; queries
and keys then have length 1, and `norm` brings each head's output to mean square 1. A hidden key
writes nothing, and does not let the state fade.

Reference: von Oswald et al. 2025, arXiv:2506.05233.
Cost: `iterations` times t d^2 products a head for the states, and t 32 2 d within chunks; d (d + e)
numbers of state.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders import exchange, inputs, recurrence
from attention_jax.variants._builders.chunked_scan import added
from attention_jax.variants._builders.delta import shaped
from attention_jax.variants._builders.linear import root_mean_square_norm
from attention_jax.variants._builders.mesa_scan import mesa_scan, mesa_step
from attention_jax.variants._builders.recurrence import Given, Recurrence, from_recurrence

ALIASES = ("mesanet", "mesa_net")
# The logit of the share that is kept, as it starts: a twentieth fades at each position.
_KEPT = 3.0


def mesa(
    *,
    iterations: int = 30,
    least: float = 0.25,
    convolution: int | None = 4,
    normalize: bool = True,
) -> Variant:
    """Regression on all keys and values so far.

    Args:
      iterations: of conjugate gradients.
      least: of the ridge, which keeps the map from fitting few keys too well.
      convolution: positions that the short causal convolution of queries, keys and values spans;
        None for none.
      normalize: whether each head's output is brought to mean square 1.
    """
    checks.positive("iterations", iterations)
    checks.above_zero("least", least)
    if convolution is not None:
        checks.positive("convolution", convolution, remedy="Use None for no convolution.")
    norm = root_mean_square_norm if normalize else lambda x: x
    rule = Recurrence(
        arrays=partial(_arrays, least),
        scan=partial(_scan, iterations),
        moved=lambda *arrays: added(*arrays[:-1]),
        before=exchange.state_before,
        step=partial(mesa_step, iterations=iterations),
        finish=lambda given, out, *arrays: norm(out),
        empty=_empty,
    )
    init = partial(_init, convolution)
    return from_recurrence("mesa", rule, init=init, features=_features, convolution=convolution)


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
    keys = jax.random.split(key, 3)
    params = {
        "keep": inputs.linear(keys[0], width, heads),
        "bias": jnp.full(heads, _KEPT),
        "strength": inputs.linear(keys[1], width, heads),
        "ridge": jnp.zeros((heads, head_width)),
    }
    if convolution is not None:
        params["taps"] = recurrence.taps(keys[2], heads, convolution, head_width)
    return params


def _features(params: Params, x: Float[Array, "b t m"]) -> dict[str, Array]:
    wide = x.astype(wide_dtype(x))
    bias = params["bias"].astype(wide.dtype)[None, None]
    return {
        "strength": jax.nn.sigmoid(inputs.mapped(params["strength"], wide)),
        "log_decay": jax.nn.log_sigmoid(inputs.mapped(params["keep"], wide) + bias),
    }


def _arrays(least: float, given: Given, q: Array, k: Array, v: Array) -> tuple[Array, ...]:
    """The query, what a key writes, key and value, the log-decay, and the ridge for all."""
    strength = given.shown(given.features["strength"].astype(q.dtype))
    log_decay = given.decay(given.features["log_decay"].astype(q.dtype))
    q, k, v = shaped(q, k, v)
    ridge = least + jax.nn.softplus(given.params["ridge"].astype(q.dtype))
    kv = jnp.concatenate([k, v], axis=-1)
    return q, strength[..., None] * k, kv, log_decay[..., None], ridge[None, None]


def _scan(iterations: int, *arrays: Array, start: Array | None) -> tuple[Array, Array]:
    *each, ridge = arrays
    return mesa_scan(*each, ridge[0, 0], start=start, iterations=iterations)


def _empty(params: Params, length: int, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    del params, length
    return jnp.zeros((*shape[:3], shape[2] + shape[3]), dtype)
