"""Training: loop, objectives, optimizers, checkpoints, early stopping, preemption and logging."""

from attention_jax.training.checkpoints import Checkpoints
from attention_jax.training.config import TrainConfig
from attention_jax.training.evaluate import loss_evaluator
from attention_jax.training.loop import fit
from attention_jax.training.preemption import Preempted
from attention_jax.training.result import Result, TrainingDiverged

__all__ = [
    "Checkpoints",
    "Preempted",
    "Result",
    "TrainConfig",
    "TrainingDiverged",
    "fit",
    "loss_evaluator",
]
