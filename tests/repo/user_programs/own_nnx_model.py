"""A small Flax model of one's own around the library's layers, one step of training."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import attention_jax as aj
from attention_jax import nn


class Reader(nnx.Module):
    """Reads vectors both ways, and gives one number a sequence."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.attention = nn.MultiHeadAttention(
            width, heads=2, variant=aj.variants.get("scaled_dot"), rngs=rngs
        )
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.out = nnx.Linear(width, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.out(self.norm(x + self.attention(x))).mean((1, 2))


def loss(model: Reader, x: jax.Array, y: jax.Array) -> jax.Array:
    return ((model(x) - y) ** 2).mean()


model = Reader(8, rngs=nnx.Rngs(0))
optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
x, y = jax.random.normal(jax.random.key(0), (4, 5, 8)), jnp.arange(4.0)
before, gradients = nnx.value_and_grad(loss)(model, x, y)
optimizer.update(model, gradients)
assert float(loss(model, x, y)) < float(before)
