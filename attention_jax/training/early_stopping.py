"""Progress of a run and early stopping, as plain data."""

import math
from typing import NamedTuple

MINIMIZED = ("loss", "perplexity", "cer", "wer")


class TrainProgress(NamedTuple):
    """Plain data of a checkpoint, which resume a run together with its arrays.

    Attributes:
      evaluated: step of the last evaluation.
      best: best value so far of the monitored metric.
      best_step: step of the best value.
      waiting: number of evaluations since `best_step`.
      stopped: True once patience has run out.
      logged: step of the last training row.
      tokens: number of target tokens seen.
      seconds: training time, evaluations included.
      metrics_size: size of metrics.jsonl in bytes.
      metrics_sha256: its checksum; empty in checkpoints of earlier versions.
    """

    evaluated: int = 0
    best: float | None = None
    best_step: int | None = None
    waiting: int = 0
    stopped: bool = False
    logged: int = 0
    tokens: int = 0
    seconds: float = 0.0
    metrics_size: int = 0
    metrics_sha256: str = ""

    def update(
        self, scores: dict[str, float], *, step: int, metric: str, patience: int | None
    ) -> "TrainProgress":
        """Progress after an evaluation, with the best score and the patience brought up to date.

        Args:
          scores: metrics of this evaluation.
          step: number of updates done.
          metric: the monitored metric.
          patience: evaluations without a better score before training stops; None for no limit.

        Raises:
          ValueError: `metric` was not evaluated.
        """
        if metric not in scores:
            raise ValueError(
                f"`monitor` must be one of the metrics {', '.join(scores)}; got {metric!r}."
            )
        value = scores[metric]
        better = not math.isnan(value) and (
            self.best is None or goodness(metric, value) > goodness(metric, self.best)
        )
        waiting = 0 if better else self.waiting + 1
        return self._replace(
            evaluated=step,
            best=value if better else self.best,
            best_step=step if better else self.best_step,
            waiting=waiting,
            stopped=patience is not None and waiting >= patience,
        )


def goodness(metric: str, value: float) -> float:
    """`value`, negated for the metrics of `MINIMIZED`, so that higher is always better."""
    return -value if metric in MINIMIZED else value
