"""The gated delta rule: a state that decays by a gate of the key, and is corrected at each key.

    S_j = a_j S_(j-1) + b_j k_j (v_j - a_j S_(j-1)^T k_j)^T    out_j = norm(S_j^T q_j)
    a_j = exp(-rate softplus(u . k_j + bias))    b_j = sigmoid(w . k_j)    before convolution
    q, k <- unit(silu(convolve(.)))    v <- silu(convolve(.))

The paper computes a_j and b_j from the layer's input x, and multiplies the output of each channel
by a gate of x, as `gates="input"` does here:

    a_j = exp(-rate softplus(U x_j + bias))    b_j = sigmoid(W x_j)    out_j <- silu(G x_j) out_j

In the short form gates come from the head's key, a linear map of that input; there is no output
gate, and the taps of a value are shared by the channels of its head. `norm` brings each head's
output to mean square 1. A hidden key writes nothing, and does not let the state fade.

Reference: Yang et al. 2024, arXiv:2412.06464, equation 10; a_j: Dao and Gu 2024,
arXiv:2405.21060.
Cost: t d e products a head for the states, and t 64 (d + e) within chunks; d e numbers of state.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders.delta import Inputs, from_delta, per_head

ALIASES = ("gated_deltanet",)


def gated_delta(
    *, convolution: int | None = 4, normalize: bool = True, gates: str = "key"
) -> Variant:
    """A state that fades and is corrected.

    Args:
      convolution: positions that the short causal convolution of queries, keys and values spans;
        None for none.
      normalize: whether each head's output is brought to mean square 1.
      gates: what gates are computed from: "input", of the layer, as in the paper, or "key".
    """
    checks.one_of("gates", gates, ("input", "key"))
    if convolution is not None:
        checks.positive("convolution", convolution, remedy="Use None for no convolution.")
    if gates == "input":
        inputs = Inputs(_init_inputs, _of_input)
        return from_delta(
            "gated_delta", convolution=convolution, normalize=normalize, inputs=inputs
        )
    gate = _init_gate, _log_decay
    return from_delta("gated_delta", convolution=convolution, normalize=normalize, gate=gate)


def _init_gate(key: PRNGKeyArray, heads: int, head_width: int) -> dict[str, Array]:
    """Rates up to 16, and steps between 0.001 and 0.1 of them, as in the authors' code."""
    key_weights, *rest = jax.random.split(key, 3)
    weights = 0.1 * jax.random.normal(key_weights, (heads, head_width)) * head_width**-0.5
    return {"weights": weights, **_rates(*rest, heads)}


def _rates(key_rate: PRNGKeyArray, key_step: PRNGKeyArray, heads: int) -> dict[str, Array]:
    step = jnp.exp(jax.random.uniform(key_step, (heads,), minval=-6.9, maxval=-2.3))
    return {
        "log_rate": jnp.log(jax.random.uniform(key_rate, (heads,), minval=0.1, maxval=16.0)),
        # The inverse of softplus.
        "bias": step + jnp.log(-jnp.expm1(-step)),
    }


def _log_decay(params: Params, k: Array) -> Array:
    return _faded(params, per_head(params["weights"], k))


def _faded(params: Params, logits: Float[Array, "b t h"]) -> Float[Array, "b t h"]:
    """-rate softplus(logits + bias)."""
    rate, bias = (x.astype(logits.dtype) for x in (jnp.exp(params["log_rate"]), params["bias"]))
    return -rate[None, None] * jax.nn.softplus(logits + bias[None, None])


def _init_inputs(key: PRNGKeyArray, *, width: int, heads: int, head_width: int) -> dict[str, Array]:
    """Maps of the layer's input, in which a number of mean square 1 stays one."""
    keys = jax.random.split(key, 5)
    shapes = {"strength": (heads,), "decay": (heads,), "gate": (heads, head_width)}
    maps = {
        name: width**-0.5 * jax.random.normal(own, (width, *shape))
        for own, (name, shape) in zip(keys[:3], shapes.items(), strict=True)
    }
    return maps | _rates(*keys[3:], heads)


def _of_input(params: Params, x: Float[Array, "b t m"]) -> dict[str, Array]:
    wide = x.astype(wide_dtype(x))
    strength, decay, gate = (params[n].astype(wide.dtype) for n in ("strength", "decay", "gate"))
    return {
        "strength": jax.nn.sigmoid(wide @ strength),
        "log_decay": _faded(params, wide @ decay),
        "gate": jnp.einsum("btm,mhd->bthd", wide, gate),
    }
