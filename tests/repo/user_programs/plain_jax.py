"""Attention in plain JAX: jitted, masked, differentiated."""

import jax
import jax.numpy as jnp

import attention_jax as aj


@jax.jit
def loss(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    near = aj.masks.causal & aj.masks.sliding_window(4)
    out = aj.attention(q, k, v, mask=near, normalizer=aj.normalizers.entmax15)
    return (out**2).sum()


x = jax.random.normal(jax.random.key(0), (1, 6, 2, 4))
value, gradients = jax.value_and_grad(loss, argnums=(0, 1, 2))(x, x, x)
assert value.shape == () and all(bool(jnp.isfinite(g).all()) for g in gradients)
