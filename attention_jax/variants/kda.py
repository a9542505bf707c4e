"""Kimi Delta Attention: a state whose channels each decay by a gate, corrected at each key.

    S_j = (I - b_j k_j k_j^T) diag(a_j) S_(j-1) + b_j k_j v_j^T    b_j = sigmoid(W x_j)
    a_j = exp(-rate softplus(U_2 U_1 x_j + bias))                  a_j for each channel of a key
    out_j = sigmoid(G_2 G_1 x_j + c) norm(S_j^T q_j)

x is the layer's input. As in the gated delta rule, whose decay is one for each head, queries, keys
and values pass a short causal convolution and SiLU, queries and keys then have length 1, and `norm`
brings each head's output to mean square 1; the paper's weights of it are those of the layer's
output map. A hidden key writes nothing, and does not let the state fade.

Reference: Kimi Team 2025, arXiv:2510.26692, sections 3 and 4.
Cost: t d e products a head for the states, and t d exponentials and t 32 (4 d + e) products
within chunks; d e numbers of state.
"""

from functools import partial

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders import channel_scan, exchange, inputs, recurrence
from attention_jax.variants._builders.delta import shaped
from attention_jax.variants._builders.linear import root_mean_square_norm
from attention_jax.variants._builders.recurrence import Given, Recurrence, from_recurrence

ALIASES = ("kimi_delta", "kimi_delta_attention")


def kda(*, rank: int | None = None, convolution: int | None = 4, normalize: bool = True) -> Variant:
    """A state that fades channel by channel and is corrected.

    Args:
      rank: of the maps from the layer's input to decays and output gates; None for the width of a
        head, as in the paper.
      convolution: positions that the short causal convolution of queries, keys and values spans;
        None for none.
      normalize: whether each head's output is brought to mean square 1.
    """
    if rank is not None:
        checks.positive("rank", rank, remedy="Use None for the width of a head.")
    if convolution is not None:
        checks.positive("convolution", convolution, remedy="Use None for no convolution.")
    rule = Recurrence(
        arrays=_arrays,
        scan=channel_scan.channel_scan,
        moved=channel_scan.channel_added,
        before=exchange.delta_state_before,
        step=channel_scan.channel_step,
        finish=partial(_finish, normalize),
    )
    init = partial(_init, rank, convolution)
    return from_recurrence("kda", rule, init=init, features=_features, convolution=convolution)


def _init(
    rank: int | None,
    convolution: int | None,
    key: PRNGKeyArray,
    *,
    width: int,
    heads: int,
    kv_heads: int,
    head_width: int,
) -> Params:
    del kv_heads
    keys, between = jax.random.split(key, 5), rank or head_width
    decay = inputs.low_rank(keys[0], width, between, heads, head_width)
    rates = inputs.rates(jax.random.split(keys[1]), heads, head_width)
    params = {
        "decay": decay | {"bias": rates["bias"]},
        "log_rate": rates["log_rate"],
        "strength": inputs.linear(keys[2], width, heads),
        "gate": inputs.low_rank(keys[3], width, between, heads, head_width),
    }
    if convolution is not None:
        params["taps"] = recurrence.taps(keys[4], heads, convolution, head_width)
    return params


def _features(params: Params, x: Float[Array, "b t m"]) -> dict[str, Array]:
    wide = x.astype(wide_dtype(x))
    steps = jax.nn.softplus(inputs.by_low_rank(params["decay"], wide))
    return {
        "strength": jax.nn.sigmoid(inputs.mapped(params["strength"], wide)),
        "log_decay": inputs.faded(params, steps),
        "gate": inputs.by_low_rank(params["gate"], wide),
    }


def _arrays(given: Given, q: Array, k: Array, v: Array) -> tuple[Array, ...]:
    """The query, what a key writes, its value, the log-decay, and the key, which reads."""
    strength = given.shown(given.features["strength"].astype(q.dtype))
    log_decay = given.decay(given.features["log_decay"].astype(q.dtype))
    q, k, v = shaped(q, k, v)
    return q, strength[..., None] * k, v, log_decay, k


def _finish(normalize: bool, given: Given, out: Array, *arrays: Array) -> Array:
    del arrays
    out = root_mean_square_norm(out) if normalize else out
    return out * jax.nn.sigmoid(given.features["gate"][..., : out.shape[-1]].astype(out.dtype))
