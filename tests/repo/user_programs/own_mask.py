"""A mask and a change of scores of one's own, beside those of the library; learned slopes."""

import jax
import jax.numpy as jnp

import attention_jax as aj
from attention_jax import masks

lengths = jnp.array([3, 5])


def not_itself(b: jax.Array, h: jax.Array, i: jax.Array, j: jax.Array) -> jax.Array:
    return i != j


def run(slopes: jax.Array, x: jax.Array) -> jax.Array:
    def nearer(score, b, h, i, j):
        return score - slopes[h] * abs(i - j)

    mask = masks.Mask(not_itself) & masks.lengths(lengths) & ~masks.sliding_window(1)
    return aj.attention(x, x, x, score_mod=nearer, mask=mask)


x = jax.random.normal(jax.random.key(0), (2, 5, 2, 4))
slopes = jnp.array([0.5, 0.25])
assert run(slopes, x).shape == x.shape
assert jax.grad(lambda s: (run(s, x) ** 2).sum())(slopes).shape == (2,)
assert aj.attention(x, x, x, mask=not_itself).shape == x.shape
