"""The additive score from its equation, with weights that learn."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

import attention_jax as aj


class Weights(NamedTuple):
    query: jax.Array
    key: jax.Array
    out: jax.Array


def score(w: Weights) -> Callable[[jax.Array, jax.Array], jax.Array]:
    return lambda q, k: w.out @ jnp.tanh(w.query @ q + w.key @ k)


def loss(w: Weights, x: jax.Array, target: jax.Array) -> jax.Array:
    return ((aj.attention(x, x, x, score=score(w)) - target) ** 2).mean()


keys = jax.random.split(jax.random.key(0), 4)
weights = Weights(
    jax.random.normal(keys[0], (3, 4)),
    jax.random.normal(keys[1], (3, 4)),
    jax.random.normal(keys[2], (3,)),
)
x = jax.random.normal(keys[3], (1, 5, 2, 4))
before, gradient = jax.value_and_grad(loss)(weights, x, jnp.flip(x, 1))
weights = jax.tree.map(lambda w, g: w - 0.1 * g, weights, gradient)
assert float(loss(weights, x, jnp.flip(x, 1))) < float(before)
