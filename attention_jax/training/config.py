"""Configuration of a training run."""

from typing import NamedTuple, get_args

import optax

from attention_jax.core import checks, plain_types
from attention_jax.core.calls import clear_fields
from attention_jax.core.types import Strategy
from attention_jax.parallel.mesh import parse
from attention_jax.training import freezing, optimizers


@clear_fields
class TrainConfig(NamedTuple):
    """Configuration of a training run: plain values, one for each flag.

    Attributes:
      steps: number of updates; 0 evaluates the parameters that training begins with.
      seed: seed of the parameters and of dropout.
      optimizer: one of `optimizers.optimizer_names()`.
      learning_rate: peak learning rate.
      schedule: one of `optimizers.schedule_names()`.
      final_rate: last learning rate of a cosine schedule.
      warmup_steps: updates of linear warm-up.
      weight_decay: decoupled weight decay, for adamw and muon.
      clip_norm: largest global norm of a gradient; None for no clipping.
      adam_b1: decay rate of Adam's first moment.
      adam_b2: decay rate of Adam's second moment.
      label_smoothing: probability spread evenly over all tokens.
      accumulate: batches accumulated into one update.
      log_every: updates between two training rows of the log.
      evaluate_every: updates between two evaluations.
      checkpoint_every: updates between two checkpoints.
      max_seconds: time limit: training ends with the first step beyond it, whatever `steps` says.
        Evaluations and earlier sessions of a resumed run count. The last step then depends on the
        machine. None for no limit.
      patience: evaluations without a better metric before training stops; None for no early
        stopping.
      keep_last: number of checkpoints that are kept, and averaged.
      average: returns the mean of the last `keep_last` checkpoints instead of the best one.
      monitor: the metric that selects the best checkpoint; maximized, unless it is one of
        `early_stopping.MINIMIZED`.
      profile_steps: number of updates to profile, once `profiling.PROFILE_AFTER` in a row have
        compiled nothing; a table of what they were spent on is printed and kept.
      tensorboard: writes TensorBoard summaries too.
      mesh: devices to train on, as `parallel.parse` reads it, such as "data=2,fsdp=4"; None for
        one device.
      context_strategy: how attention reaches the keys that other devices of `context` hold, see
        `core.types.Context`.
      freeze: regular expressions; parameters in whose path one occurs, such as
        "encoder/stack/layers/0/attention/query/kernel", stay as they begin, and have no optimizer.
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
    monitor: str = "loss"
    profile_steps: int = 0
    tensorboard: bool = False
    mesh: str | None = None
    context_strategy: Strategy = "gather"
    freeze: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises ValueError if a number is out of range."""
        plain_types.check_fields(self)
        for name in ("accumulate", "log_every", "evaluate_every", "checkpoint_every", "keep_last"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1; got {getattr(self, name)}.")
        for name in ("steps", "warmup_steps", "profile_steps", "learning_rate"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative; got {getattr(self, name)}.")
        checks.natural("seed", self.seed)
        if self.final_rate and (self.schedule != "cosine" or not 0 <= self.final_rate):
            raise ValueError(
                f"`final_rate` must be 0, or above 0 for a cosine schedule; got {self.final_rate} "
                f"for {self.schedule}. Leave it at 0."
            )
        for name in ("adam_b1", "adam_b2"):
            checks.fraction(name, getattr(self, name))
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"`patience` must be at least 1 or None; got {self.patience}.")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ValueError(f"`max_seconds` must be above 0 or None; got {self.max_seconds}.")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"`label_smoothing` must be in [0, 1); got {self.label_smoothing}.")
        checks.one_of("context_strategy", self.context_strategy, get_args(Strategy))
        if self.mesh:
            parse(self.mesh)
        freezing.check_patterns(self.freeze)
        self.transform()  # refuses what the optimizer and its schedule cannot do

    def rate(self) -> optimizers.Schedule:
        """Learning rate as a function of the number of updates done."""
        return optimizers.schedule(
            self.schedule,
            peak=self.learning_rate,
            warmup_steps=self.warmup_steps,
            steps=self.steps,
            final=self.final_rate,
        )

    def transform(self) -> optax.GradientTransformation:
        """Optimizer with its schedule and gradient clipping, of the parameters that are trained."""
        own = optimizers.optimizer(
            self.optimizer,
            learning_rate=self.rate(),
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            b1=self.adam_b1,
            b2=self.adam_b2,
        )
        return freezing.spared(own, self.freeze)
