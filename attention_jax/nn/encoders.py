"""Encoders of vectors, for models whose encoder and decoder are of different kinds.

They are called as `protocols.Encoder` says: with vectors that hold no positions yet, such as those
of tokens, or frames of speech.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from attention_jax.core import plain_types
from attention_jax.core.calls import clear_calls
from attention_jax.nn import transformer
from attention_jax.nn.layers import dropout, placed
from attention_jax.nn.protocols import EncoderOutput
from attention_jax.nn.recurrent import RNNConfig, layer_of_cells, read_layer
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.nn.transformer_layers import EncoderLayer


class TransformerEncoder(nnx.Module):
    """Positions, and layers of self-attention, or of a recurrence in its place.

    Args:
      config: its sizes, attention and positions.
    """

    @clear_calls
    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        plain_types.of_kind("config", config, TransformerConfig)
        config.check()
        self.config, dtype = config, jnp.dtype(config.dtype)
        init = nnx.initializers.normal(config.width**-0.5)
        self.learned = (
            nnx.Embed(config.max_length, config.width, embedding_init=init, dtype=dtype, rngs=rngs)
            if config.positions == "learned"
            else None
        )
        self.layers = transformer.stack(EncoderLayer, config, rngs=rngs)
        self.norm = transformer.last_norm(config, rngs=rngs)
        self.embedding_norm = transformer.embedding_norm(config, rngs=rngs)

    def __call__(
        self,
        source: Float[Array, "b s f"],
        source_mask: Bool[Array, "b s"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> EncoderOutput:
        x, mask = self.embed(source, source_mask, rngs=rngs)
        x = self.layers(x, mask, rngs=rngs)
        return EncoderOutput(self.norm(x), mask)

    def embed(
        self, source: Array, source_mask: Array, *, rngs: nnx.Rngs | None = None
    ) -> tuple[Float[Array, "b k m"], Bool[Array, "b k"]]:
        """The input of the first layer, and which of its positions are real."""
        kind = transformer.added_positions(self.config)
        x = self.embedding_norm(placed(source, kind, self.learned))
        return dropout(x, self.config.dropout_rate, rngs), source_mask


class SelfAttention(nnx.Module):
    """Layers of a Transformer above cells, whose states tell positions apart already."""

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        self.layers = transformer.stack(EncoderLayer, config, rngs=rngs)
        self.norm = transformer.last_norm(config, rngs=rngs)

    def __call__(
        self, x: Float[Array, "b s m"], mask: Bool[Array, "b s"], rngs: nnx.Rngs | None
    ) -> Float[Array, "b s m"]:
        return self.norm(self.layers(x, mask, rngs=rngs))


class RNNEncoder(nnx.Module):
    """Layers of cells that read one way or both, and self-attention above them where asked for.

    Args:
      config: its sizes and cell; the decoder's attention means nothing here.
    """

    @clear_calls
    def __init__(self, config: RNNConfig, *, rngs: nnx.Rngs):
        plain_types.of_kind("config", config, RNNConfig)
        config.check()
        self.config = config
        self.encoders, self.self_attention = parts_of(config, rngs=rngs)

    def __call__(
        self,
        source: Float[Array, "b s f"],
        source_mask: Bool[Array, "b s"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> EncoderOutput:
        rate, above = self.config.dropout_rate, self.self_attention
        return read(self.encoders, above, source, source_mask, dropout_rate=rate, rngs=rngs)


def check_looked_at(encoder: RNNConfig, attentive: bool) -> None:
    """Raises where self-attention above the cells would change nothing."""
    if encoder.self_attention is not None and not attentive:
        raise ValueError(
            "`self_attention` must be None where the decoder does not attend: it knows the last "
            f"states of cells alone; got {encoder.self_attention.layers} layers. Leave it out, or "
            "give the decoder an attention."
        )


def parts_of(config: RNNConfig, *, rngs: nnx.Rngs) -> tuple[nnx.List, SelfAttention | None]:
    """The layers of cells of an RNN's encoder, and what is above them."""
    layers = [layer_of_cells(config, config.width, rngs=rngs) for _ in range(config.layers)]
    own = config.self_attention
    return nnx.List(layers), None if own is None else SelfAttention(own, rngs=rngs)


def read(
    layers: nnx.List,
    above: SelfAttention | None,
    x: Float[Array, "b s m"],
    mask: Bool[Array, "b s"],
    *,
    dropout_rate: float,
    rngs: nnx.Rngs | None,
) -> EncoderOutput:
    """States of a text, and the last carry of each layer of cells as `summary`."""
    last = []
    for cells in layers:
        carry, x = read_layer(cells, dropout(x, dropout_rate, rngs), mask)
        last.append(carry)
    return EncoderOutput(x if above is None else above(x, mask, rngs), mask, last)
