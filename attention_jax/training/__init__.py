"""Training: loop, objectives, optimizers, checkpoints, early stopping, preemption and logging."""

from attention_jax.training.checkpoints import Checkpoints
from attention_jax.training.config import TrainConfig
from attention_jax.training.evaluate import loss_evaluator
from attention_jax.training.loop import Result, TrainingDiverged, fit
from attention_jax.training.preemption import Preempted

__all__ = [
    "Checkpoints",
    "Preempted",
    "Result",
    "TrainConfig",
    "TrainingDiverged",
    "fit",
    "loss_evaluator",
]
