"""The Transformer of `models.language` in PyTorch, as nanoGPT writes it.

Sizes, biases, tied embeddings, GELU and norms are those of the model that it stands beside.
"""

import torch
from torch import nn
from torch.nn import functional

from attention_jax.nn.transformer import TransformerConfig

NORM_EPSILON = 1e-6  # as Flax has it
# Fields of a configuration in which the two sides may be of any value.
SIZES = "vocabulary_size width layers heads feed_forward max_length dropout_rate".split()


class Block(nn.Module):
    """Causal self-attention, then feed-forward, each with its norm first and its shortcut."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        width, hidden = config.width, config.feed_forward
        self.heads, self.dropout_rate = config.heads, config.dropout_rate
        self.first, self.second = (nn.LayerNorm(width, eps=NORM_EPSILON) for _ in range(2))
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's change, added."""
        parts = self.query_key_value(self.first(x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.drop(self.out(seen.transpose(1, 2).flatten(2)))
        return x + self.drop(self.down(functional.gelu(self.up(self.second(x)))))

    def drop(self, x: torch.Tensor) -> torch.Tensor:
        """Dropout, where there is any."""
        return functional.dropout(x, self.dropout_rate) if self.dropout_rate else x


class Language(nn.Module):
    """Learned positions, blocks, a norm, and one table for embeddings and output.

    Raises:
      ValueError: a choice that this twin does not have.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        _check(config)
        self.tokens = nn.Embedding(config.vocabulary_size, config.width)
        self.positions = nn.Embedding(config.max_length, config.width)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.layers)))
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * config.layers) ** (0.5 * last))
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits of the token after each."""
        tokens = batch["tokens"]
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        return functional.linear(self.norm(self.blocks(x)), self.tokens.weight)


def _check(config: TransformerConfig) -> None:
    """Refuses what would make the two sides do different work."""
    own = {
        "attention": "scaled_dot",
        "positions": "learned",
        "norm": "pre",
        "tied": True,
        "activation": "gelu",
        "dtype": "float32",
    }
    plain = TransformerConfig(0)._asdict() | own
    free = (*SIZES, "cross_attention", "context")
    other = {
        name: value
        for name, value in config._asdict().items()
        if name not in free and value != plain[name]
    }
    if other:
        raise ValueError(
            "the model in torch is that of the preset tiny_shakespeare, of any size; got "
            f"{other}. Leave them out."
        )
