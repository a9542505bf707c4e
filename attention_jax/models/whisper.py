"""Whisper's encoder, and the model of an encoder of frames and a decoder of tokens.

Reference: Radford et al. 2023, arXiv:2212.04356, section 2.2.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from attention_jax.core import checks, plain_types
from attention_jax.core.calls import clear_calls, clear_fields
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn.encoders import TransformerEncoder
from attention_jax.nn.feed_forward import gelu
from attention_jax.nn.layers import Linear
from attention_jax.nn.transformer import TransformerConfig

STRIDES = (1, 2)  # of the convolutions


@clear_fields
class WhisperConfig(NamedTuple):
    """Sizes and choices of a model that writes what it hears.

    Attributes:
      transformer: of the decoder; the encoder has the same, but for what is said here.
      features: numbers a frame.
      layers, heads, feed_forward, positions: of the encoder; `positions` are half as many as
        frames.
    """

    transformer: TransformerConfig
    features: int = 80
    layers: int = 4
    heads: int = 6
    feed_forward: int = 1536
    positions: int = 1500

    @property
    def vocabulary_size(self) -> int:
        """Tokens."""
        return self.transformer.vocabulary_size

    @property
    def encoder(self) -> TransformerConfig:
        """The configuration of the encoder."""
        own = {name: getattr(self, name) for name in ("layers", "heads", "feed_forward")}
        return self.transformer._replace(max_length=self.positions, **own)

    def check(self) -> None:
        """Raises ValueError where a field is of another type, or out of its range."""
        plain_types.check_fields(self)
        self.transformer.check()
        for name in ("features", "layers", "heads", "feed_forward", "positions"):
            checks.positive(name, getattr(self, name))
        self.encoder.check()


class WhisperEncoder(TransformerEncoder):
    """Two convolutions over time of three taps, of which the second halves the length.

        y[i] = gelu(W [x[s i - 1]; x[s i]; x[s i + 1]] + b)        s = 1, then 2

    Beyond both ends, and in padding, there are zeros. Then positions and layers follow; learned
    positions begin as `sines`.

    Args:
      config: of the layers.
      features: numbers a frame.
    """

    @clear_calls
    def __init__(self, config: TransformerConfig, features: int, *, rngs: nnx.Rngs):
        plain_types.sizes(features=features)
        super().__init__(config, rngs=rngs)
        if self.learned is not None:
            self.learned.embedding[...] = sines(config.max_length, config.width)
        dtype, inputs = jnp.dtype(config.dtype), (features, config.width)
        self.convolutions = nnx.List(
            [Linear(3 * n, config.width, dtype=dtype, rngs=rngs) for n in inputs]
        )

    def embed(
        self, source: Array, source_mask: Array, *, rngs: nnx.Rngs | None = None
    ) -> tuple[Float[Array, "b k m"], Bool[Array, "b k"]]:
        """The input of the first layer, and which of its positions are real."""
        x, mask = source, source_mask
        for convolution, stride in zip(self.convolutions, STRIDES, strict=True):
            x, mask = _taps(jnp.where(mask[..., None], x, 0), stride), mask[:, ::stride]
            x = gelu(convolution(x))
        return super().embed(x, mask, rngs=rngs)


def sines(length: int, width: int) -> Float[Array, "s m"]:
    """Sines of all rates, then their cosines; the last rate is 1 / 10,000.

        x[i, c] = sin(i r_c)        x[i, k + c] = cos(i r_c)        r_c = 10000^(-c / (k - 1))

    k is half the width.

    Raises:
      ValueError: the width is odd, or below 4.
    """
    if width % 2 or width < 4:
        raise ValueError(
            f"`width` must be even and at least 4, for half of it are sines; got {width}. The "
            f"nearest above is {max(4, width + width % 2)}."
        )
    half = width // 2
    angles = np.arange(length)[:, None] * 10_000.0 ** (-np.arange(half) / (half - 1))
    return jnp.asarray(np.concatenate([np.sin(angles), np.cos(angles)], axis=1), jnp.float32)


def whisper(config: WhisperConfig, *, rngs: nnx.Rngs) -> Seq2SeqTransformer:
    """The model of a configuration; its source is frames [b s f]."""
    plain_types.of_kind("config", config, WhisperConfig)
    config.check()

    def encoder(rngs: nnx.Rngs) -> WhisperEncoder:
        return WhisperEncoder(config.encoder, config.features, rngs=rngs)

    return Seq2SeqTransformer(config.transformer, encoder=encoder, rngs=rngs)


def _taps(x: Float[Array, "b s m"], stride: int) -> Float[Array, "b k n"]:
    """Each position of a stride with its two neighbors; zeros beyond the ends."""
    padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
    length = x.shape[1]
    return jnp.concatenate([padded[:, i : i + length : stride] for i in range(3)], axis=-1)
