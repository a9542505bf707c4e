"""The Transformer of `models.language` in eager PyTorch, as nanoGPT writes it.

Sizes, biases, tied embeddings, GELU, norms, AdamW on matrices and the schedule are those of the
model that it stands beside.
"""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from attention_jax.data.types import TokenBatch
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.training.config import TrainConfig

NORM_EPSILON, ADAM_EPSILON = 1e-6, 1e-9  # as Flax and `optimizers` have them


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
    """Learned positions, blocks, a norm, and one table for embeddings and output."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
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

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of the token after each."""
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        return functional.linear(self.norm(self.blocks(x)), self.tokens.weight)


def training(
    config: TransformerConfig, settings: TrainConfig
) -> tuple[int, Callable[[TokenBatch], float]]:
    """How many parameters there are, and an eager update, which gives its loss.

    Raises:
      ValueError: what this twin does not have.
    """
    _check(config, settings)
    model = Language(config)
    return sum(p.numel() for p in model.parameters()), updater(model, settings)


def _check(config: TransformerConfig, settings: TrainConfig) -> None:
    """Refuses what would make the two sides do different work."""
    plain = {
        "attention": "scaled_dot",
        "positions": "learned",
        "norm": "pre",
        "tied": True,
        "activation": "gelu",
        "kv_heads": None,
        "dtype": "float32",
        "attention_dropout_rate": 0.0,
        "scan": False,
        "remat": False,
    }
    usual = {"optimizer": "adamw", "label_smoothing": 0.0, "accumulate": 1}
    other = {name: getattr(config, name) for name in plain if getattr(config, name) != plain[name]}
    other |= {x: getattr(settings, x) for x in usual if getattr(settings, x) != usual[x]}
    if settings.clip_norm is None:
        other["clip_norm"] = None
    if other:
        raise ValueError(
            "the model in torch is that of the preset tiny_shakespeare, of any size; got "
            f"{other}. Use --flagfile=experiments/presets/tiny_shakespeare.flags."
        )


def updater(model: Language, settings: TrainConfig) -> Callable[[TokenBatch], float]:
    """An update of the model by AdamW, after which it gives the loss."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    betas = settings.adam_b1, settings.adam_b2
    optimizer = torch.optim.AdamW(
        groups, lr=settings.learning_rate, betas=betas, eps=ADAM_EPSILON, fused=True
    )
    rates = [float(settings.rate()(n)) for n in range(settings.steps)]
    done = [0]

    def step(window: TokenBatch) -> float:
        for group in optimizer.param_groups:
            group["lr"] = rates[min(done[0], len(rates) - 1)]
        optimizer.zero_grad(set_to_none=True)
        logits = model(torch.as_tensor(window.tokens).long())
        targets = torch.as_tensor(window.targets).long()
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, settings.clip_norm or math.inf)
        optimizer.step()
        done[0] += 1
        return loss.item()

    return step
