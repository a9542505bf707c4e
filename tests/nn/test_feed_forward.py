"""Feed-forward networks by their equations, in float64, and how they are divided."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.nn.feed_forward import ACTIVATIONS, GATED, FeedForward
from tests.support.equations import numbers

# Of a number, by the papers.
BY_EQUATION = {
    "relu": lambda x: max(x, 0.0),
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: (
        0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "swish": lambda x: x / (1 + math.exp(-x)),
}
OF_GATE = {"swiglu": "swish", "geglu": "gelu", "geglu_tanh": "gelu_tanh"}


def build(activation, **options):
    options = {"dropout_rate": 0.0, "dtype": jnp.float32, "rngs": nnx.Rngs(0)} | options
    return FeedForward(4, 6, activation=activation, **options)


def product(layer, x):
    """`W x + b` in loops; b is 0 where there is none."""
    kernel = numbers(layer.kernel)
    bias = np.zeros(kernel.shape[1]) if layer.bias is None else numbers(layer.bias)
    return np.array([sum(x * kernel[:, o]) + bias[o] for o in range(kernel.shape[1])])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_is_its_equation(activation, bias, draw):
    """arXiv:1706.03762, equation 2; arXiv:2002.05202, equations 6."""
    layer = build(activation, bias=bias)
    for part in (layer.up, layer.down, *([layer.gate] if activation in GATED else [])):
        part.kernel = nnx.Param(draw(*part.kernel.shape))
        if bias:
            part.bias = nnx.Param(draw(*part.bias.shape))
    x = draw(2, 3, 4)
    wanted = np.zeros((2, 3, 4))
    act = BY_EQUATION[OF_GATE.get(activation, activation)]
    for at in np.ndindex(2, 3):
        row = np.asarray(x[at], np.float64)
        gate = product(layer.gate if activation in GATED else layer.up, row)
        hidden = np.array([act(n) for n in gate])
        if activation in GATED:
            hidden = hidden * product(layer.up, row)
        wanted[at] = product(layer.down, hidden)
    np.testing.assert_allclose(layer(x), wanted, rtol=1e-4, atol=1e-5)


def test_gated_forms_alone_have_a_second_map():
    assert set(GATED) == set(OF_GATE)
    for name in ACTIVATIONS:
        assert hasattr(build(name), "gate") == (name in GATED)


def test_dropout_stands_before_the_last_map(draw):
    """All hidden units dropped leave its bias."""
    layer = build("swiglu", dropout_rate=0.999)
    layer.down.bias = nnx.Param(draw(4))
    x = draw(1, 1, 4)
    np.testing.assert_array_equal(layer(x, rngs=nnx.Rngs(dropout=0))[0, 0], layer.down.bias[...])


def test_an_unknown_activation_is_named():
    with pytest.raises(ValueError, match="^`activation` must be .*'swiglu'.*; got 'tanh'"):
        build("tanh")
