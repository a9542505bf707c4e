"""A variant inside Flax's own multi-head attention."""

import jax.numpy as jnp
from flax import nnx

import attention_jax as aj

layer = nnx.MultiHeadAttention(
    num_heads=2,
    in_features=8,
    decode=False,
    attention_fn=aj.nn.attention_function(aj.variants.get("alibi")),
    rngs=nnx.Rngs(0),
)
assert layer(jnp.ones((1, 5, 8))).shape == (1, 5, 8)
