"""The layers of an encoder-decoder by themselves: vectors in, vectors out, as torch has them.

    model = VectorTransformer(VectorConfig(TransformerConfig(1, 512)), rngs=nnx.Rngs(0))
    states = model.decode(target, model.encode(source, mask))      # [b t m]

Reference: Vaswani et al. 2017, arXiv:1706.03762.
"""

from collections.abc import Iterator
from typing import NamedTuple

from flax import nnx
from jaxtyping import Array, Bool, Float

from attention_jax.core import checks, plain_types
from attention_jax.core.calls import clear_calls, clear_fields
from attention_jax.models.seq2seq_transformer import DecoderLayer
from attention_jax.nn import transformer
from attention_jax.nn.attention_calls import AttentionCall, record
from attention_jax.nn.protocols import EncoderOutput
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.nn.transformer_layers import EncoderLayer


@clear_fields
class VectorConfig(NamedTuple):
    """Sizes and choices of an encoder-decoder of vectors.

    Attributes:
      transformer: of its layers; what it says of tokens and positions means nothing.
      decoder_layers: layers of the decoder; None for as many as the encoder has.
    """

    transformer: TransformerConfig
    decoder_layers: int | None = None

    @property
    def decoder(self) -> TransformerConfig:
        """The configuration of the decoder."""
        own = self.transformer
        return own if self.decoder_layers is None else own._replace(layers=self.decoder_layers)

    def check(self) -> None:
        """Raises ValueError where a field is of another type, or out of its range."""
        plain_types.check_fields(self)
        self.transformer.check()
        if self.decoder_layers is not None:
            checks.positive("decoder_layers", self.decoder_layers)


class VectorInputs(NamedTuple):
    """A batch of sources and targets that are vectors."""

    source: Float[Array, "b s m"]
    source_mask: Bool[Array, "b s"]
    target_in: Float[Array, "b t m"]


class VectorTransformer(nnx.Module):
    """Encoder and decoder stacks without embeddings and output; a norm ends both, always.

    The decoder's positions see those before them. Positions are the caller's to add.

    Args:
      config: sizes and choices.
    """

    @clear_calls
    def __init__(self, config: VectorConfig, *, rngs: nnx.Rngs):
        plain_types.of_kind("config", config, VectorConfig)
        config.check()
        self.config, own = config, config.transformer
        self.encoder = transformer.stack(EncoderLayer, own, rngs=rngs)
        self.decoder = transformer.stack(DecoderLayer, config.decoder, rngs=rngs)
        self.encoder_norm = transformer.norm_at(own, rngs=rngs)
        self.decoder_norm = transformer.norm_at(own, rngs=rngs)

    def encode(
        self,
        source: Float[Array, "b s m"],
        source_mask: Bool[Array, "b s"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> EncoderOutput:
        """Contextual vectors of the source."""
        x = self.encoder_norm(self.encoder(source, source_mask, rngs=rngs))
        return EncoderOutput(x, source_mask)

    def decode(
        self,
        target: Float[Array, "b t m"],
        memory: EncoderOutput,
        *,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "b t m"]:
        """States of the target."""
        return self.decoder_norm(self.decoder(target, memory, rngs=rngs))

    def attention_calls(self, batch: VectorInputs) -> Iterator[AttentionCall]:
        """Every attention of a forward pass, in order: the encoder's, then the decoder's."""

        def run(model: VectorTransformer) -> Array:
            return model.decode(batch.target_in, model.encode(batch.source, batch.source_mask))

        return record(self, run)
