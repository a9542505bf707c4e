"""RWKV-7: a state whose channels each decay, and from which each position takes what it finds.

    S_t = S_(t-1) (diag(w_t) - u_t^T (a_t * u_t)) + v_t^T k'_t    u_t = (xi * k_t) at length 1
    out_t = g_t * (scale * norm(r_t S_t^T) + (r_t . (rho * k'_t)) v_t)
    k'_t = k_t * (1 + (a_t - 1) * alpha)    a_t = sigmoid(A_2 A_1 x_t + c)
    w_t = exp(-e^(-1/2) sigmoid(W_2 tanh(W_1 x_t) + c))    g_t = G_2 sigmoid(G_1 x_t)

r is q; x is the layer's input, and all vectors are rows. Products `*` are of channels, so each has
a rate of its own at which it learns in context. `norm` brings each head's output to mean 0 and
variance 1. Of the paper's layer, the shift of tokens and the values of the first layer belong to
the layer and are left out; so is a shift of the norm, which would answer queries that see nothing.
A hidden key writes and takes nothing, and does not let the state fade.

Reference: Peng et al. 2025, arXiv:2503.14456, section 4.
Cost: t d e products a head for the states, and t d exponentials and t 32 (6 d + 2 e) products
within chunks; d e numbers of state.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders import channel_scan, exchange, inputs
from attention_jax.variants._builders.delta import unit
from attention_jax.variants._builders.linear import layer_norm
from attention_jax.variants._builders.recurrence import Given, Recurrence, from_recurrence

ALIASES = ("rwkv", "goose")
_FASTEST = -(jnp.e**-0.5)  # log-decay: at least 0.545 of a channel stays


def rwkv7(*, rank: int = 32) -> Variant:
    """A state with vectors for gates.

    Args:
      rank: of the maps from the layer's input to decays and learning rates; those to output gates
        have twice as much.
    """
    checks.positive("rank", rank)

    def init(
        key: PRNGKeyArray, *, width: int, heads: int, kv_heads: int, head_width: int
    ) -> Params:
        del kv_heads
        keys, shape = jax.random.split(key, 4), (heads, head_width)
        # Channels begin with decays from slow to fast.
        slow_to_fast = jnp.linspace(-5.5, 0.5, heads * head_width).reshape(shape)
        gate = inputs.low_rank(keys[2], width, 2 * rank, *shape)
        return {
            "decay": inputs.low_rank(keys[0], width, rank, *shape) | {"bias": slow_to_fast},
            "rate": inputs.low_rank(keys[1], width, rank, *shape),
            "gate": {name: gate[name] for name in ("down", "up")},
            "erase": jnp.full(shape, 0.7),
            "renew": jnp.ones(shape),
            "bonus": 0.1 * jax.random.normal(keys[3], shape),
            "scale": jnp.ones(shape),
        }

    rule = Recurrence(
        arrays=_arrays,
        scan=channel_scan.channel_scan,
        moved=channel_scan.channel_added,
        before=exchange.delta_state_before,
        step=channel_scan.channel_step,
        finish=_finish,
    )
    return from_recurrence("rwkv7", rule, init=init, features=_features)


def _features(params: Params, x: Float[Array, "b t m"]) -> dict[str, Array]:
    wide = x.astype(wide_dtype(x))
    decay = inputs.by_low_rank(params["decay"], wide, jnp.tanh)
    gate = jax.nn.sigmoid(inputs.mapped(params["gate"]["down"], wide))
    return {
        "log_decay": _FASTEST * jax.nn.sigmoid(decay),
        "rate": jax.nn.sigmoid(inputs.by_low_rank(params["rate"], wide)),
        "gate": inputs.mapped(params["gate"]["up"], gate),
    }


def _arrays(given: Given, q: Array, k: Array, v: Array) -> tuple[Array, ...]:
    """Query, key and value, the log-decay, what reads the state, and what is erased by it."""
    erase, renew = (given.params[name].astype(k.dtype)[None, None] for name in ("erase", "renew"))
    own = given.shown(given.features["log_decay"].astype(k.dtype))
    rate = given.features["rate"].astype(k.dtype)
    removed = unit(erase * k)
    # The state is read before it fades: after that, it is what faded, divided by how much.
    reads = removed * jnp.exp(-own)
    return q, k * (1 + (rate - 1) * renew), v, given.decay(own), reads, rate * removed


def _finish(given: Given, out: Array, q: Array, k: Array, v: Array, *others: Array) -> Array:
    del others
    scale, bonus = (given.params[x].astype(out.dtype)[None, None] for x in ("scale", "bonus"))
    own = (q * bonus * k).sum(-1, keepdims=True) * v
    gate = given.features["gate"][..., : out.shape[-1]].astype(out.dtype)
    return gate * (scale[..., : out.shape[-1]] * layer_norm(out) + own)
