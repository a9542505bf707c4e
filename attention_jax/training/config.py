"""How to train, as plain values."""

from typing import NamedTuple

import optax

from attention_jax.training import optimizers


class TrainConfig(NamedTuple):
    """Plain values, one for each flag.

    Attributes:
      steps: updates in all.
      seed: seed of the parameters and of dropout.
      optimizer: one of `optimizers.optimizer_names()`.
      learning_rate: the largest rate.
      schedule: one of `optimizers.schedule_names()`.
      final_rate: the last rate of a cosine.
      warmup_steps: updates until the largest rate.
      weight_decay: for adamw and muon.
      clip_norm: the largest norm of a gradient, or None.
      adam_b1: decay of Adam's mean.
      adam_b2: decay of Adam's mean square.
      label_smoothing: probability given to all tokens alike.
      accumulate: batches in an update.
      log_every: updates between two training rows.
      evaluate_every: updates between two evaluations.
      checkpoint_every: updates between two checkpoints.
      max_seconds: training ends with the first step after so long, whatever `steps` says;
        evaluations and all resumptions count. Where it ends then depends on the machine. None
        for no limit.
      patience: evaluations without a better metric before training stops, or None.
      keep_last: checkpoints that stay, and that are averaged.
      average: whether the result is the mean of the last `keep_last` checkpoints instead of
        the best one.
      maximise: the metric that decides; those of `early_stopping.MINIMISED` are minimised.
      profile_steps: updates to profile.
      tensorboard: whether to write for TensorBoard too.
    """

    steps: int
    seed: int = 0
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "inverse_sqrt"
    final_rate: float = 0.0
    warmup_steps: int = 400
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    adam_b1: float = 0.9
    adam_b2: float = 0.98
    label_smoothing: float = 0.0
    accumulate: int = 1
    log_every: int = 50
    evaluate_every: int = 500
    checkpoint_every: int = 500
    max_seconds: float | None = None
    patience: int | None = None
    keep_last: int = 1
    average: bool = False
    maximise: str = "loss"
    profile_steps: int = 0
    tensorboard: bool = False

    def check(self) -> None:
        """Raises ValueError where a number is out of range."""
        for name in ("accumulate", "log_every", "evaluate_every", "checkpoint_every", "keep_last"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1; got {getattr(self, name)}.")
        if self.steps < 0:
            raise ValueError(f"`steps` must not be negative; got {self.steps}.")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"`patience` must be at least 1 or None; got {self.patience}.")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ValueError(f"`max_seconds` must be above 0 or None; got {self.max_seconds}.")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"`label_smoothing` must be in [0, 1); got {self.label_smoothing}.")

    def rate(self) -> optimizers.Schedule:
        """The learning rate of each update."""
        return optimizers.schedule(
            self.schedule,
            peak=self.learning_rate,
            warmup_steps=self.warmup_steps,
            steps=self.steps,
            final=self.final_rate,
        )

    def transform(self) -> optax.GradientTransformation:
        """The optimizer."""
        return optimizers.optimizer(
            self.optimizer,
            learning_rate=self.rate(),
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            b1=self.adam_b1,
            b2=self.adam_b2,
        )
