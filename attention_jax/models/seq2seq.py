"""Encoder-decoders whose two sides may be of different kinds, over one table of tokens.

    config = Seq2SeqConfig(encoder=RNNConfig(90, cell="lstm"), decoder=TransformerConfig(90, 256))
    model = build(config, rngs=nnx.Rngs(0))

The decoder's model is that of its kind; its encoder is another. Between the two stands the
attention that the decoder's configuration names, or none.

References: Transformer encoders below recurrent decoders: Chen et al. 2018, arXiv:1804.09849;
recurrences in place of the decoder's self-attention: Kim et al. 2019, aclanthology.org/D19-5632.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from flax import nnx

from attention_jax.core import plain_types
from attention_jax.core.calls import clear_fields
from attention_jax.models.seq2seq_rnn import Seq2SeqRNN
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn.encoders import RNNEncoder, TransformerEncoder, check_looked_at
from attention_jax.nn.protocols import Encoder
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import ONE_VECTOR, TransformerConfig

Side = TransformerConfig | RNNConfig
_SHARED = ("vocabulary_size", "width", "dtype")


@clear_fields
class Seq2SeqConfig(NamedTuple):
    """An encoder and a decoder of two kinds.

    Attributes:
      encoder: what is said of decoders in it means nothing.
      decoder: what is said of encoders in it means nothing. Its `attention`, of a Transformer
        `cross_attention`, is that between the two.
    """

    encoder: Side
    decoder: Side

    @property
    def vocabulary_size(self) -> int:
        """Tokens of the one table."""
        return self.decoder.vocabulary_size

    @property
    def output_bias(self) -> bool:
        """True where logits have a learned bias, as those of an RNN always do."""
        return isinstance(self.decoder, RNNConfig) or self.decoder.output_bias

    def check(self) -> None:
        """Raises ValueError where the two do not go together."""
        plain_types.check_fields(self)
        for side in self:
            side.check()
        both_have_cells = all(isinstance(side, RNNConfig) for side in self)
        for name in (*_SHARED, *(["layers"] if both_have_cells else [])):
            first, other = (getattr(side, name) for side in self)
            if first != other:
                raise ValueError(
                    f"`encoder` and `decoder` must have the same `{name}`; got {first!r} and "
                    f"{other!r}. Give both one of the two."
                )
        if isinstance(self.encoder, RNNConfig):
            check_looked_at(self.encoder, _between(self.decoder) != ONE_VECTOR)


def build(config: Side | Seq2SeqConfig, *, rngs: nnx.Rngs) -> Seq2SeqTransformer | Seq2SeqRNN:
    """The model of a configuration: of one for both sides, or of one for each."""
    plain_types.of_kind("config", config, TransformerConfig, RNNConfig, Seq2SeqConfig)
    encoder: Callable[[nnx.Rngs], Encoder] | None = None
    decoder: Any = config
    if isinstance(config, Seq2SeqConfig):
        config.check()
        encoder, decoder = _maker(config.encoder), config.decoder
    if isinstance(decoder, RNNConfig):
        return Seq2SeqRNN(decoder, encoder=encoder, rngs=rngs)
    return Seq2SeqTransformer(decoder, encoder=encoder, rngs=rngs)


def _maker(config: Side) -> Callable[[nnx.Rngs], Encoder]:
    if isinstance(config, RNNConfig):
        return lambda rngs: RNNEncoder(config, rngs=rngs)
    return lambda rngs: TransformerEncoder(config, rngs=rngs)


def _between(decoder: Side) -> object:
    """The attention to the source."""
    return decoder.attention if isinstance(decoder, RNNConfig) else decoder.cross_attention
