"""Training steps in PyTorch, eager or by torch.compile: loss, clipping and Adam as ours."""

import logging
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from attention_jax.data.types import TokenBatch
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.training.config import TrainConfig
from experiments.benchmark import images_torch, language_torch, seq2seq_torch, speech_torch
from experiments.benchmark.attention_torch import use_all_cores
from experiments.benchmark.training_cases import Case

ADAM_EPSILON = 1e-9  # as `optimizers` has it
IGNORED = -100  # the target of padding
_TARGETS = ("target_out", "targets", "labels")  # of the kinds of batches

Tensors = dict[str, torch.Tensor]


def training_step(case: Case, *, compiled: bool) -> Callable[[], float]:
    """An update from the batch of a case, after which it gives the loss.

    Raises:
      ValueError: the twin of the model, or of its optimizer, lacks something.
    """
    use_all_cores()
    update, batch = updater(model_of(case), case.training, compiled=compiled), tensors(case.batch)
    return lambda: update(batch)


def model_of(case: Case) -> nn.Module:
    """The model of a case in PyTorch."""
    network: Any = case.network
    if isinstance(case.batch, TokenBatch):
        return language_torch.Language(network)
    if case.image:
        return images_torch.VisionTransformer(network, case.image)
    if case.audio:
        return speech_torch.SpeechTransformer(network, case.audio, case.encoder_layers)
    if not isinstance(network, RNNConfig):
        return seq2seq_torch.Transformer(network)
    if network.attention == "none":
        return seq2seq_torch.PlainLSTM(network)
    return seq2seq_torch.AttentiveGRU(network)


def tensors(batch: Any) -> Tensors:
    """The arrays of a batch; "goal" holds the targets, without padding."""
    found = {name: torch.as_tensor(np.asarray(value)) for name, value in batch._asdict().items()}
    found = {
        name: value if value.is_floating_point() or value.dtype == torch.bool else value.long()
        for name, value in found.items()
    }
    (goal,) = (found.pop(name) for name in _TARGETS if name in found)
    return found | {"goal": goal.masked_fill(found.pop("weights") == 0, IGNORED).flatten()}


def updater(
    model: nn.Module, settings: TrainConfig, *, compiled: bool = False
) -> Callable[[Tensors], float]:
    """An update of the model, after which it gives the loss.

    Args:
      model: logits from `tensors`.
      settings: of the optimizer.
      compiled: by torch.compile; forward, loss and backward.

    Raises:
      ValueError: the optimizer is another.
    """
    check(settings)
    parameters = list(model.parameters())
    optimizer = _optimizer(parameters, settings)
    rates = np.asarray(settings.rate()(np.arange(settings.steps))).tolist()
    done = [0]

    def loss_of(batch: Tensors) -> torch.Tensor:
        logits = model(batch).flatten(0, -2)
        smoothing = settings.label_smoothing
        return functional.cross_entropy(logits, batch["goal"], label_smoothing=smoothing)

    compute: Any = _compiled(loss_of) if compiled else loss_of

    def step(batch: Tensors) -> float:
        for group in optimizer.param_groups:
            group["lr"] = rates[min(done[0], len(rates) - 1)]
        optimizer.zero_grad(set_to_none=True)
        loss = compute(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, settings.clip_norm or math.inf)
        optimizer.step()
        done[0] += 1
        return loss.item()

    return step


def _compiled(function: Callable[[Tensors], torch.Tensor]) -> Any:
    # torch reports at length on the Python version and on absent devices.
    logging.getLogger("torch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="torch")
    torch._dynamo.reset()
    return torch.compile(function, dynamic=False)


def check(settings: TrainConfig) -> None:
    """Refuses what would make the two sides do different work.

    Raises:
      ValueError: it would.
    """
    if settings.optimizer not in ("adam", "adamw") or settings.accumulate != 1:
        raise ValueError(
            "`optimizer` must be adam or adamw, of one batch an update, beside torch; got "
            f"{settings.optimizer}, accumulate={settings.accumulate}."
        )


def _optimizer(parameters: list[nn.Parameter], settings: TrainConfig) -> torch.optim.Optimizer:
    """Adam, whose decoupled decay is of matrices alone."""
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    betas = settings.adam_b1, settings.adam_b2
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=settings.learning_rate, betas=betas, eps=ADAM_EPSILON, fused=True)
