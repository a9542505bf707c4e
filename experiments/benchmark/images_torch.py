"""The Vision Transformer in PyTorch, for the training benchmark."""

import torch
from torch import nn
from torch.nn import functional

from attention_jax.nn.patches import ImageConfig, doubling
from attention_jax.nn.transformer import TransformerConfig
from experiments.benchmark.language_torch import NORM_EPSILON
from experiments.benchmark.seq2seq_torch import sinusoids


class VisionTransformer(nn.Module):
    """Convolutional patches, sinusoidal places, an encoder with its norms first, and a mean.

    Args:
      config: sizes; `vocabulary_size` is the number of classes.
      image: sizes of the images and of a patch.
    """

    def __init__(self, config: TransformerConfig, image: ImageConfig):
        super().__init__()
        width, halvings = config.width, image.patch.bit_length() - 1
        pairs = doubling(image.channels, width, halvings, name="convolutions")
        self.convolutions = nn.ModuleList(
            nn.Conv2d(*pair, 3, stride=2, padding=1) for pair in pairs
        )
        self.norms = nn.ModuleList(nn.LayerNorm(n, eps=NORM_EPSILON) for _, n in pairs)
        self.out = nn.Linear(width, width)
        down, across = (sinusoids(n, width // 2) for n in image.grid)
        places = [part.expand(*image.grid, width // 2) for part in (down[:, None], across[None])]
        self.places = nn.Buffer(torch.cat(places, -1).flatten(0, 1))
        layer = nn.TransformerEncoderLayer(
            width,
            config.heads,
            config.feed_forward,
            config.dropout_rate,
            config.activation,
            NORM_EPSILON,
            batch_first=True,
            norm_first=True,
        )
        # torch drops attention weights and hidden units at one rate; ours has one for each.
        layer.self_attn.dropout = config.attention_dropout_rate
        norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.encoder = nn.TransformerEncoder(layer, config.layers, norm, enable_nested_tensor=False)
        self.dropout, self.head = (
            nn.Dropout(config.dropout_rate),
            nn.Linear(width, config.vocabulary_size),
        )

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits of each class."""
        x = 2 * batch["images"] - 1
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            x = functional.relu(norm(x))
        x = self.dropout(self.out(x.flatten(1, 2)) + self.places)
        return self.head(self.encoder(x).mean(dim=1))
