"""The gated delta rule: a state that decays by a gate of the key, and is corrected at each key.

    S_j = a_j S_(j-1) + b_j k_j (v_j - a_j S_(j-1)^T k_j)^T    out_j = norm(S_j^T q_j)
    a_j = exp(-rate softplus(u . k_j + bias))    b_j = sigmoid(w . k_j)    before convolution
    q, k <- unit(silu(convolve(.)))    v <- silu(convolve(.))

The paper computes a_j and b_j from the layer's input; here they come from the head's key, a linear
map of that input. The taps of a value are shared by the channels of its head, where the paper has
some for each channel. `norm` brings each head's output to mean square 1; the output gate belongs to
the layer. A hidden key writes nothing, and does not let the state fade.

Reference: Yang et al. 2024, arXiv:2412.06464, equation 10; a_j: Dao and Gu 2024,
arXiv:2405.21060.
Cost: t d e products a head for the states, and t 64 (d + e) within chunks; d e numbers of state.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders.linear import from_delta, per_head

ALIASES = ("gated_deltanet",)


def gated_delta(*, convolution: int | None = 4, normalize: bool = True) -> Variant:
    """A state that fades and is corrected.

    Args:
      convolution: positions that the short causal convolution of queries, keys and values spans;
        None for none.
      normalize: whether each head's output is brought to mean square 1.
    """
    if convolution is not None:
        checks.positive("convolution", convolution, remedy="Use None for no convolution.")
    gate = _init_gate, _log_decay
    return from_delta("gated_delta", convolution=convolution, normalize=normalize, gate=gate)


def _init_gate(key: PRNGKeyArray, heads: int, head_width: int) -> dict[str, Array]:
    """Rates up to 16, and steps between 0.001 and 0.1 of them, as in the authors' code."""
    key_weights, key_rate, key_step = jax.random.split(key, 3)
    step = jnp.exp(jax.random.uniform(key_step, (heads,), minval=-6.9, maxval=-2.3))
    return {
        "weights": 0.1 * jax.random.normal(key_weights, (heads, head_width)) * head_width**-0.5,
        "log_rate": jnp.log(jax.random.uniform(key_rate, (heads,), minval=0.1, maxval=16.0)),
        # The inverse of softplus.
        "bias": step + jnp.log(-jnp.expm1(-step)),
    }


def _log_decay(params: Params, k: Array) -> Array:
    rate, bias = jnp.exp(params["log_rate"]).astype(k.dtype), params["bias"].astype(k.dtype)
    step = jax.nn.softplus(per_head(params["weights"], k) + bias[None, None])
    return -rate[None, None] * step
