"""The gated delta rule: a state that decays by a gate of the input, and is corrected at each key.

    S_j = a_j S_(j-1) + b_j k_j (v_j - a_j S_(j-1)^T k_j)^T    out_j = silu(G x_j) norm(S_j^T q_j)
    a_j = exp(-rate softplus(U x_j + bias))    b_j = sigmoid(W x_j)    x: the layer's input
    q, k <- unit(silu(convolve(.)))    v <- silu(convolve(.))

In the short form, `gates="key"`, gates come from the head's key, a linear map of that input; there
is no output gate, and the taps of a value are shared by the channels of its head:

    a_j = exp(-rate softplus(u . k_j + bias))    b_j = sigmoid(w . k_j)    before convolution

`norm` brings each head's output to mean square 1. A hidden key writes nothing, and does not let the
state fade.

Reference: Yang et al. 2024, arXiv:2412.06464, equation 10; a_j: Dao and Gu 2024,
arXiv:2405.21060.
Cost: t d e products a head for the states, and t 32 (d + e) within chunks; d e numbers of state.
"""

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders import inputs as maps
from attention_jax.variants._builders.delta import Inputs, from_delta, per_head

ALIASES = ("gated_deltanet",)


def gated_delta(
    *, convolution: int | None = 4, normalize: bool = True, gates: str = "input"
) -> Variant:
    """A state that fades and is corrected.

    Args:
      convolution: positions that the short causal convolution of queries, keys and values spans;
        None for none.
      normalize: whether each head's output is brought to mean square 1.
      gates: what gates are computed from: "input", of the layer, or "key".
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
    keys = jax.random.split(key, 3)
    weights = 0.1 * jax.random.normal(keys[0], (heads, head_width)) * head_width**-0.5
    return {"weights": weights, **maps.rates(keys[1:], heads, slowest=0.1)}


def _log_decay(params: Params, k: Array) -> Array:
    steps = maps.step_size(params, per_head(params["weights"], k))
    return maps.faded(params, steps)


def _init_inputs(key: PRNGKeyArray, *, width: int, heads: int, head_width: int) -> dict[str, Array]:
    keys = jax.random.split(key, 5)
    return {
        "strength": maps.linear(keys[0], width, heads),
        "decay": maps.linear(keys[1], width, heads),
        "gate": maps.linear(keys[2], width, heads, head_width),
        **maps.rates(keys[3:], heads, slowest=0.1),
    }


def _of_input(params: Params, x: Float[Array, "b t m"]) -> dict[str, Array]:
    wide = x.astype(wide_dtype(x))
    strength, decay, gate = (
        maps.mapped(params[name], wide) for name in ("strength", "decay", "gate")
    )
    return {
        "strength": jax.nn.sigmoid(strength),
        "log_decay": maps.faded(params, maps.step_size(params, decay)),
        "gate": gate,
    }
