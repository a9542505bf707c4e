"""Speech encoders, which read frames where others read tokens; and CTC heads.

    encoder = lambda rngs: SpeechTransformerEncoder(config, AudioFrontEnd(), rngs=rngs)
    model = Seq2SeqTransformer(config, encoder=encoder, rngs=rngs)
    model = CTCModel(encoder(rngs), CTCHead(config.width, config.vocabulary_size, rngs=rngs))

An encoder is called as `(source [b s f], source_mask [b s], rngs=...)` and gives an
`EncoderOutput`.

References: convolutions in front of a Transformer: Mohamed et al. 2019, arXiv:1904.11660; listen,
attend and spell: Chan et al. 2016, arXiv:1508.01211; connectionist temporal classification: Graves
et al. 2006, ICML.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from attention_jax.core import checks, plain_types
from attention_jax.core.calls import clear_calls, clear_fields
from attention_jax.nn import spec_augment
from attention_jax.nn.attention_calls import AttentionCall, record
from attention_jax.nn.encoders import TransformerEncoder
from attention_jax.nn.layers import Linear, dropout
from attention_jax.nn.protocols import EncoderOutput, PairInputs
from attention_jax.nn.recurrent import RNNConfig, layer_of_cells, read_layer
from attention_jax.nn.spec_augment import Augment
from attention_jax.nn.transformer import TransformerConfig


@clear_fields
class AudioFrontEnd(NamedTuple):
    """Front end of a speech encoder: subsampling and augmentation of frames.

    Attributes:
      features: numbers a frame.
      halvings: convolutions of stride 2 in front: each halves the number of positions.
      pyramid: layers of a `PyramidalRNNEncoder` that halve it further.
      augment: what is hidden in training, where there are `rngs`.
    """

    features: int = 40
    halvings: int = 2
    pyramid: int = 0
    augment: Augment = Augment.none()

    def check(self) -> None:
        """Raises ValueError where a field is of another type, or out of its range."""
        plain_types.check_fields(self)
        checks.positive("features", self.features)
        checks.natural("halvings", self.halvings)
        checks.natural("pyramid", self.pyramid)
        self.augment.check()

    @property
    def shortening(self) -> int:
        """Frames to a position of the encoder."""
        return 2 ** (self.halvings + self.pyramid)


class Subsampling(nnx.Module):
    """Convolutions over time of three taps and stride 2, with GELU between; then a linear map.

        y[i] = gelu(W [x[2i - 1]; x[2i]; x[2i + 1]] + b)

    Beyond both ends, and in padding, there are zeros; position i is real where frame 2i is.
    """

    @clear_calls
    def __init__(self, listening: AudioFrontEnd, width: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        inputs = [listening.features, *[width] * (listening.halvings - 1)]
        self.convolutions = nnx.List(
            [Linear(3 * n, width, dtype=dtype, rngs=rngs) for n in inputs[: listening.halvings]]
        )
        last = width if listening.halvings else listening.features
        self.project = Linear(last, width, dtype=dtype, rngs=rngs)

    def __call__(
        self, frames: Float[Array, "b s f"], mask: Bool[Array, "b s"]
    ) -> tuple[Float[Array, "b k m"], Bool[Array, "b k"]]:
        x = frames
        for convolution in self.convolutions:
            # As a matrix product: on a CPU its gradient is faster than a convolution's.
            x, mask = _triples(jnp.where(mask[..., None], x, 0)), mask[:, ::2]
            x = nnx.gelu(convolution(x))
        return self.project(x), mask


class SpeechTransformerEncoder(TransformerEncoder):
    """Subsampling, positions, then the layers of a Transformer's encoder.

    Args:
      config: its sizes, attention and positions.
      listening: what is in front.
    """

    @clear_calls
    def __init__(self, config: TransformerConfig, listening: AudioFrontEnd, *, rngs: nnx.Rngs):
        plain_types.of_kind("config", config, TransformerConfig)
        config.check()
        plain_types.of_kind("listening", listening, AudioFrontEnd)
        listening.check()
        dtype = jnp.dtype(config.dtype)
        self.listening = listening
        self.subsampling = Subsampling(listening, config.width, dtype=dtype, rngs=rngs)
        super().__init__(config, rngs=rngs)

    def embed(
        self, source: Array, source_mask: Array, *, rngs: nnx.Rngs | None = None
    ) -> tuple[Float[Array, "b k m"], Bool[Array, "b k"]]:
        """The input of the first layer, and which of its positions are real."""
        x = augmented(source, source_mask, self.listening.augment, rngs)
        return super().embed(*self.subsampling(x, source_mask), rngs=rngs)


class PyramidalRNNEncoder(nnx.Module):
    """Layers of cells that read both ways, of which each but the first halves the length.

        h_l[i] = cell([h_(l-1)[2i] ; h_(l-1)[2i + 1]])

    The states at the end of the last `config.layers` layers are the `summary`, from which the
    decoder starts. Convolutions in front, if any, are not the paper's.

    Args:
      config: width, cell and dropout; half the width each way, where both are read.
      listening: what is in front, and how many layers halve.

    Raises:
      ValueError: fewer layers than the decoder has.

    Reference: Chan et al. 2016, arXiv:1508.01211, section 3.1.
    """

    @clear_calls
    def __init__(self, config: RNNConfig, listening: AudioFrontEnd, *, rngs: nnx.Rngs):
        plain_types.of_kind("config", config, RNNConfig)
        config.check()
        plain_types.of_kind("listening", listening, AudioFrontEnd)
        listening.check()
        if config.layers > listening.pyramid + 1:
            raise ValueError(
                "`layers` of the decoder must be at most those of the listener, `pyramid` + 1; got "
                f"layers={config.layers}, pyramid={listening.pyramid}. Raise `pyramid`."
            )
        self.config, self.listening = config, listening
        width, dtype = config.width, jnp.dtype(config.dtype)
        self.subsampling = Subsampling(listening, width, dtype=dtype, rngs=rngs)
        inputs = [width, *[2 * width] * listening.pyramid]
        self.layers = nnx.List([layer_of_cells(config, n, rngs=rngs) for n in inputs])

    def __call__(
        self,
        source: Float[Array, "b s f"],
        source_mask: Bool[Array, "b s"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> EncoderOutput:
        x = augmented(source, source_mask, self.listening.augment, rngs)
        x, mask = self.subsampling(x, source_mask)
        last = []
        for number, cells in enumerate(self.layers):
            if number:
                x, mask = _pairs(jnp.where(mask[..., None], x, 0)), mask[:, ::2]
            x = dropout(x, self.config.dropout_rate, rngs)
            carry, x = read_layer(cells, x, mask)
            last.append(carry)
        return EncoderOutput(x, mask, last[-self.config.layers :])


class CTCHead(nnx.Module):
    """Logits over tokens at each position of a memory; PAD is the blank.

    For `objectives.joint` it is given to a model that has a decoder too: `model.aligner = ...`.

    Args:
      width: of the memory's states.
      vocabulary_size: tokens, special ones included.
      dropout_rate: on the states.
    """

    @clear_calls
    def __init__(
        self, width: int, vocabulary_size: int, *, dropout_rate: float = 0.0, rngs: nnx.Rngs
    ):
        plain_types.sizes(width=width, vocabulary_size=vocabulary_size)
        plain_types.rates(dropout_rate=dropout_rate)
        self.output, self.dropout_rate = Linear(width, vocabulary_size, rngs=rngs), dropout_rate

    def __call__(
        self, memory: EncoderOutput, *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b s v"]:
        x = dropout(memory.states.astype(jnp.float32), self.dropout_rate, rngs)
        return self.output(x)


class CTCModel(nnx.Module):
    """An encoder with logits at each position; for `objectives.ctc`.

    There is no decoder: positions do not see what others say.
    """

    @clear_calls
    def __init__(self, encoder: nnx.Module, aligner: CTCHead):
        self.encoder, self.aligner = encoder, aligner

    def encode(
        self,
        source: Float[Array, "b s f"],
        source_mask: Bool[Array, "b s"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> EncoderOutput:
        """States of the source."""
        return self.encoder(source, source_mask, rngs=rngs)

    def attention_calls(self, batch: PairInputs) -> Iterator[AttentionCall]:
        """Every attention of the encoder."""
        return record(self, lambda model: model.encode(batch.source, batch.source_mask))


def augmented(
    frames: Float[Array, "b s f"],
    mask: Bool[Array, "b s"],
    augment: Augment,
    rngs: nnx.Rngs | None,
) -> Float[Array, "b s f"]:
    """Frames with parts hidden, where there are `rngs` and something is to be hidden."""
    if rngs is None or augment == Augment.none():
        return frames
    return spec_augment.spec_augment(frames, mask, rngs.dropout(), augment)


def _triples(x: Float[Array, "b s m"]) -> Array:
    """Each even position with its two neighbors; zeros beyond the ends."""
    padded = jnp.pad(x, ((0, 0), (1, 1 + x.shape[1] % 2), (0, 0)))
    s = 2 * (-(-x.shape[1] // 2))
    return jnp.concatenate([padded[:, i : i + s : 2] for i in range(3)], axis=-1)


def _pairs(x: Float[Array, "b s m"]) -> Array:
    """Each even position with the next; zeros beyond the end."""
    x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0)))
    return x.reshape(x.shape[0], -1, 2 * x.shape[-1])
