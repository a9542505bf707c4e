"""The result of training, and those who take part in it beside the loop."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from flax import nnx

from attention_jax.core.types import Params


class Result(NamedTuple):
    """Result of training.

    Attributes:
      graphdef: graph of the model, which is `nnx.merge(graphdef, params)`.
      params: the best parameters by `monitor`, or the average.
      metric: the best value of the monitored metric; None without evaluations.
      best_step: step of the best value.
      steps: number of updates done.
      seconds: total training time over all sessions, evaluations included.
      tokens: number of target tokens seen.
      stopped_early: True if patience ran out.
      first_step_seconds: time of the first update of this process, compilation included.
      time_shares: where the time of this process went, `time_shares.PARTS` and the rest; their sum
        is 1.
    """

    graphdef: nnx.GraphDef
    params: Params
    metric: float | None
    best_step: int | None
    steps: int
    seconds: float
    tokens: int
    stopped_early: bool
    first_step_seconds: float
    time_shares: Mapping[str, float]


class Owner(NamedTuple):
    """The owner of a run's folder.

    Attributes:
      on_accepted: called once nothing refuses the call, before the folder is changed.
      identity: of the run, as `Checkpoints` takes it.
    """

    on_accepted: Callable[[], None] = lambda: None
    identity: Mapping[str, str] = {}

    def accept(self, folder: Path) -> None:
        """Makes the folder, and calls its owner."""
        folder.mkdir(parents=True, exist_ok=True)
        self.on_accepted()


class TrainingDiverged(RuntimeError):
    """The loss, the gradient or a parameter is no longer finite."""
