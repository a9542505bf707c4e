"""The speech Transformer in PyTorch, for the training benchmark."""

import torch
from torch import nn
from torch.nn import functional

from attention_jax.models.speech import AudioFrontEnd
from attention_jax.nn.transformer import TransformerConfig
from experiments.benchmark.seq2seq_torch import Transformer


class SpeechTransformer(Transformer):
    """A Transformer that reads frames, by convolutions of stride 2 in front; GELU by tanh.

    Args:
      config: sizes.
      front: features of a frame, and how many convolutions.
      encoder_layers: where the encoder is deeper than the decoder.
    """

    def __init__(
        self, config: TransformerConfig, front: AudioFrontEnd, encoder_layers: int | None = None
    ):
        super().__init__(config, encoder_layers)
        inputs = [front.features, *[config.width] * (front.halvings - 1)][: front.halvings]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(n, config.width, 3, stride=2, padding=1) for n in inputs
        )
        last = config.width if front.halvings else front.features
        self.project = nn.Linear(last, config.width)

    def embed_source(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors of the frames, and which of them are real."""
        x, real = batch["source"], batch["source_mask"]
        for convolution in self.convolutions:
            x = convolution(x.masked_fill(~real[..., None], 0).transpose(1, 2)).transpose(1, 2)
            x, real = functional.gelu(x, approximate="tanh"), real[:, ::2]
        return self.dropout(self.project(x) + self.positions[: x.shape[1]]), real
