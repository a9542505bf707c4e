"""A language model on a text of one's own: windows, a loss, a step of decoding."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import attention_jax as aj
from attention_jax.nn import TransformerConfig
from attention_jax.training import objectives

TEXT = "attention is one line of maths. " * 40
letters = sorted(set(TEXT))
tokens = np.array([letters.index(c) for c in TEXT])

config = TransformerConfig(vocabulary_size=len(letters), width=16, layers=1, feed_forward=16)
model = aj.models.TransformerLM(config._replace(heads=2), rngs=nnx.Rngs(0))
windows = aj.data.RandomWindows(tokens, rows=2, length=8, seed=0)
batch = windows[0]
sums = objectives.next_token(model, batch)
assert float(sums.loss) > 0 and float(sums.count) == 16

state = model.start(batch=1, max_length=8)
state, logits = model.step(state, jnp.array([3]))
following: jax.Array = logits.argmax(-1)
assert logits.shape == (1, len(letters)) and following.shape == (1,)
