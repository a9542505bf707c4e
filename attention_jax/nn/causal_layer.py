"""A layer of a decoder that attends to nothing but its own past, as those of language models do."""

from flax import nnx
from jaxtyping import Array

from attention_jax.core import masks
from attention_jax.core.types import State
from attention_jax.nn.handed import Stream
from attention_jax.nn.transformer_layers import Layer


class CausalLayer(Layer):
    """Self-attention to what came before, then feed-forward."""

    role = "causal"

    def __call__(self, x: Stream, *, rngs: nnx.Rngs | None = None) -> Stream:
        return self.feed_forward_block(self.self_attention(x, masks.causal, rngs), rngs)

    def decode_step(
        self, x: Stream, cache: State, position: Array, held: Array | None = None
    ) -> tuple[Stream, State]:
        """The next positions, `x` [b t m]; reproduces the call."""
        x, cache = self.self_attention_step(x, cache, position, held)
        return self.feed_forward_block(x), cache
