"""Gated linear attention (GLA): each channel of the state decays by a gate of the key.

    S_j = diag(a_j) S_(j-1) + k_j v_j^T    a_j = sigmoid(W_2 W_1 k_j + bias)^(1 / temperature)
    out_j = norm(S_j^T q_j)

The paper computes the gate a_j from the layer's input; here it comes from the head's key, a linear
map of that input. `norm` brings each head's output to mean 0 and variance 1; the paper's output
gate belongs to the layer. A hidden key does not let the state fade either.

Reference: Yang et al. 2023, arXiv:2312.06635, equation 3 and section 4.4.
Cost: t d e products a head for the states, and t d exponentials and t 32 (d + e) products within
chunks; d e numbers of state.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders.linear import from_decay

ALIASES = ("gla",)


def gated_linear(*, rank: int = 16, temperature: float = 16.0, normalize: bool = True) -> Variant:
    """Sums of values that fade channel by channel.

    Args:
      rank: of the map from keys to gates.
      temperature: above 0; larger starts with slower forgetting.
      normalize: whether each head's output is brought to mean 0 and variance 1.
    """
    checks.positive("rank", rank)
    if not temperature > 0:
        raise ValueError(f"`temperature` must be above 0; got {temperature!r}.")

    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del kv_heads
        key_down, key_up = jax.random.split(key)
        down = jax.random.normal(key_down, (heads, head_width, rank)) * head_width**-0.5
        up = jax.random.normal(key_up, (heads, rank, head_width)) * rank**-0.5
        return {"down": down, "up": up, "bias": jnp.zeros((heads, head_width))}

    def fade(params: Params, q: Array, k: Array, at: Array, visible: Array) -> Any:
        del at
        down, up, bias = (params[name].astype(k.dtype) for name in ("down", "up", "bias"))
        hidden = jnp.einsum("bthd,hdr->bthr", k, down)
        logits = jnp.einsum("bthr,hrd->bthd", hidden, up) + bias[None, None]
        log_decay = jax.nn.log_sigmoid(logits) / temperature
        return q, k, jnp.where(visible[:, :, None, None], log_decay, 0)

    return from_decay("gated_linear", fade, normalize=normalize, init=init)
