"""Encoder-decoder models in PyTorch, for the training benchmark.

Written as a torch user would write them, with torch's own fused layers. Sizes, dropout and tied
embeddings are those of the model they stand beside.
"""

import math
import warnings

import torch
from torch import nn
from torch.nn import functional

from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig
from experiments.benchmark.language_torch import NORM_EPSILON


class Transformer(nn.Module):
    """`nn.Transformer` with sinusoidal positions and one table for embeddings and output.

    Args:
      config: sizes.
      encoder_layers: where the encoder is deeper than the decoder.
    """

    def __init__(self, config: TransformerConfig, encoder_layers: int | None = None):
        super().__init__()
        self.width = config.width
        self.embedding = nn.Embedding(config.vocabulary_size, config.width)
        nn.init.normal_(self.embedding.weight, std=config.width**-0.5)
        self.dropout = nn.Dropout(config.dropout_rate)
        with warnings.catch_warnings():  # nested tensors go with norms last alone
            warnings.simplefilter("ignore")
            self.core = nn.Transformer(
                config.width,
                config.heads,
                encoder_layers or config.layers,
                config.layers,
                config.feed_forward,
                config.dropout_rate,
                layer_norm_eps=NORM_EPSILON,
                batch_first=True,
                norm_first=config.norm == "pre",
            )
        # torch drops attention weights and hidden units at one rate; ours has one for each.
        for module in self.core.modules():
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = config.attention_dropout_rate
        self.positions = nn.Buffer(sinusoids(config.max_length, config.width))

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scaled embeddings with positions."""
        added = self.positions[: tokens.shape[1]]
        return self.dropout(self.embedding(tokens) * self.width**0.5 + added)

    def embed_source(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors of the source, and which of them are real."""
        return self.embed(batch["source"]), batch["source_mask"]

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits of each next target token."""
        source, real = self.embed_source(batch)
        hidden = ~real
        length = batch["target_in"].shape[1]
        out = self.core(
            source,
            self.embed(batch["target_in"]),
            tgt_mask=nn.Transformer.generate_square_subsequent_mask(length),
            src_key_padding_mask=hidden,
            memory_key_padding_mask=hidden,
            tgt_is_causal=True,
        )
        return functional.linear(out, self.embedding.weight)


class Embedded(nn.Module):
    """Token vectors, scaled by the root of the width, with dropout."""

    def __init__(self, config: RNNConfig):
        super().__init__()
        width = config.width
        self.embedding = nn.Embedding(config.vocabulary_size, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.width, self.dropout = width, nn.Dropout(config.dropout_rate)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scaled embeddings."""
        return self.dropout(self.embedding(tokens) * self.width**0.5)


class AttentiveGRU(Embedded):
    """GRU encoder-decoder with additive attention and input feeding."""

    def __init__(self, config: RNNConfig):
        super().__init__(config)
        width = config.width
        self.encoder = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        self.cell = nn.GRUCell(2 * width, width)
        self.bridge = nn.Linear(width, width)
        self.query, self.key = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.energy = nn.Linear(width, 1, bias=False)
        self.combine = nn.Linear(2 * width, width)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary_size))

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits of each next target token; keys are projected once."""
        lengths = batch["source_mask"].sum(1).clamp(min=1)
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(batch["source"]), lengths, batch_first=True, enforce_sorted=False
        )
        packed, last = self.encoder(packed)
        memory, _ = nn.utils.rnn.pad_packed_sequence(
            packed, batch_first=True, total_length=batch["source"].shape[1]
        )
        keys, hidden = self.key(memory), ~batch["source_mask"]
        state = torch.tanh(self.bridge(torch.cat([last[0], last[1]], dim=-1)))
        fed, out = torch.zeros_like(state), []
        for x in self.embed(batch["target_in"]).unbind(1):
            state = self.cell(torch.cat([x, fed], dim=-1), state)
            energy = self.energy(torch.tanh(self.query(state)[:, None] + keys))[..., 0]
            weights = energy.masked_fill(hidden, -math.inf).softmax(-1)
            context = torch.einsum("bs,bsm->bm", weights, memory)
            fed = torch.tanh(self.combine(torch.cat([context, state], dim=-1)))
            out.append(fed)
        return functional.linear(
            self.dropout(torch.stack(out, 1)), self.embedding.weight, self.bias
        )


class PlainLSTM(Embedded):
    """LSTM encoder-decoder whose decoder starts from the encoder's last state, and sees no more."""

    def __init__(self, config: RNNConfig):
        super().__init__(config)
        width = config.width
        self.encoder = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.decoder = nn.LSTM(width, width, batch_first=True)
        self.bridge, self.combine = nn.Linear(width, width), nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary_size))

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits of each next target token."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(batch["source"]),
            batch["source_mask"].sum(1).clamp(min=1),
            batch_first=True,
            enforce_sorted=False,
        )
        _, last = self.encoder(packed)
        start = tuple(torch.tanh(self.bridge(torch.cat([*x], -1)))[None] for x in last)
        out, _ = self.decoder(self.embed(batch["target_in"]), start)
        out = self.dropout(torch.tanh(self.combine(out)))
        return functional.linear(out, self.embedding.weight, self.bias)


def sinusoids(length: int, width: int) -> torch.Tensor:
    """A sine and a cosine of each position, for each of geometric wavelengths."""
    rates = torch.exp(-math.log(10000.0) * torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)
