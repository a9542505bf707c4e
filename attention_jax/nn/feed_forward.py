"""The position-wise feed-forward network, plain or gated, and its activations."""

from collections.abc import Callable

import jax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array

from attention_jax.core import checks, plain_types
from attention_jax.core.calls import clear_calls
from attention_jax.nn.layers import Linear, dropout


def gelu(x: Array) -> Array:
    """`x Phi(x)`, with the normal distribution's `Phi` from `erf`, as torch has it.

    `nnx.gelu` goes by `erfc`, whose branches make a training step on a CPU slower.

    Reference: Hendrycks and Gimpel 2016, arXiv:1606.08415.
    """
    return x * (0.5 + 0.5 * jax.lax.erf(x * 0.5**0.5))


def gelu_tanh(x: Array) -> Array:
    """`x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`, near `gelu`: that of BERT and GPT-2.

    Reference: Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2.
    """
    return jax.nn.gelu(x, approximate=True)


def swish(x: Array) -> Array:
    """`x / (1 + exp(-x))`, also called SiLU.

    Reference: Ramachandran et al. 2017, arXiv:1710.05941.
    """
    return x * jax.nn.sigmoid(x)


PLAIN: dict[str, Callable[[Array], Array]] = {
    "relu": nnx.relu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "swish": swish,
}
# Gated forms, each by the activation of its gate.
GATED: dict[str, Callable[[Array], Array]] = {
    "swiglu": swish,
    "geglu": gelu,
    "geglu_tanh": gelu_tanh,
}
ACTIVATIONS = PLAIN | GATED


class FeedForward(nnx.Module):
    """Position-wise feed-forward network, plain or gated.

        W_down act(W_up x)                     relu, gelu, gelu_tanh, swish
        W_down (act(W_gate x) * W_up x)        swiglu, geglu, geglu_tanh

    A gated one has half as many parameters again; two thirds of the hidden units make them equal.

    Args:
      activation: one of `ACTIVATIONS`.
      bias: whether the linear maps add learned vectors.

    Reference: Vaswani et al. 2017, arXiv:1706.03762, section 3.3; in place of the maximum,
    x P(z < x) of a normal z: Hendrycks and Gimpel 2016, arXiv:1606.08415; gated: Shazeer 2020,
    arXiv:2002.05202, equations 6.
    """

    @clear_calls
    def __init__(
        self,
        width: int,
        hidden: int,
        *,
        activation: str = "relu",
        bias: bool = True,
        dropout_rate: float,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        checks.one_of("activation", activation, tuple(ACTIVATIONS))
        plain_types.sizes(width=width, hidden=hidden)
        plain_types.flags(bias=bias)
        plain_types.rates(dropout_rate=dropout_rate)
        dtype = plain_types.float_dtype(dtype)

        def linear(inside: int, outside: int) -> Linear:
            init = nnx.initializers.xavier_uniform()
            return Linear(inside, outside, use_bias=bias, kernel_init=init, dtype=dtype, rngs=rngs)

        self.up, self.down = linear(width, hidden), linear(hidden, width)
        if activation in GATED:
            self.gate = linear(width, hidden)
        self.activation, self.dropout_rate = activation, dropout_rate

    def __call__(self, x: Array, *, rngs: nnx.Rngs | None = None) -> Array:
        activate = ACTIVATIONS[self.activation]
        if self.activation in GATED:
            hidden = activate(self.gate(x)) * self.up(x)
        else:
            hidden = activate(self.up(x))
        return self.down(dropout(hidden, self.dropout_rate, rngs))
