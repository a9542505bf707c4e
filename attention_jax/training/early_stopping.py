"""How far a run has come, and whether it still gets better, as plain data."""

import math
from typing import NamedTuple

MINIMISED = ("loss", "perplexity", "cer", "wer")


class TrainProgress(NamedTuple):
    """The plain data of a checkpoint: they resume a run together with the arrays.

    Attributes:
      evaluated: the step of the last evaluation.
      best: the best value so far of the metric that decides.
      best_step: where it was reached.
      waiting: evaluations since then.
      stopped: whether patience ran out.
      logged: the step of the last training row.
      tokens: target tokens seen.
      seconds: time so far, evaluations included.
      metrics_size: bytes of metrics.jsonl so far.
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

    def judged(
        self, scores: dict[str, float], *, step: int, metric: str, patience: int | None
    ) -> "TrainProgress":
        """Progress after an evaluation: is it the best, and does patience run out?

        Args:
          scores: what was evaluated.
          step: when.
          metric: the score that decides.
          patience: evaluations without a better one before training stops, or None.

        Raises:
          ValueError: `metric` was not evaluated.
        """
        if metric not in scores:
            raise ValueError(
                f"`maximise` must be one of the metrics {', '.join(scores)}; got {metric!r}."
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
    """`value` where more is better, its negative where less is, as of `MINIMISED`."""
    return -value if metric in MINIMISED else value
