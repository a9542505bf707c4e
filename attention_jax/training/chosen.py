"""The parameters that a run ends with: the average of its last checkpoints, the best, or the last.

chosen(checkpoints, End(state.params, step=1000), progress, config, put=put, say=print)
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from attention_jax.core.types import Params
from attention_jax.training.checkpoints import CheckpointDamaged, Checkpoints
from attention_jax.training.config import TrainConfig
from attention_jax.training.early_stopping import TrainProgress
from attention_jax.training.shared_checkpoints import SharedCheckpoints

Kept = Checkpoints | SharedCheckpoints


class End(NamedTuple):
    """The last parameters of a run, and the number of its updates."""

    params: Params
    step: int


def chosen(
    checkpoints: Kept,
    end: End,
    progress: TrainProgress,
    config: TrainConfig,
    *,
    put: Callable[[Params], Params],
    say: Callable[[str], None],
) -> tuple[Params, TrainProgress]:
    """The parameters as the configuration wants them, and the progress that goes with them.

    Where a checkpoint is damaged, the next choice is taken, and said: the best in place of the
    average, the last in place of the best, which is then forgotten.

    Args:
      put: brings a tree of the host to where training holds its own.
      say: told what was taken instead.
    """
    steps = checkpoints.steps(scheduled=True)[-config.keep_last :]
    like = {"params": end.params}
    if config.average and len(steps) > 1:
        mean = _average(checkpoints, steps, like, say)
        if mean is not None:
            return put(mean), progress
    if progress.best_step is None:
        return end.params, progress
    best = _best(checkpoints, progress.best_step, like)
    if best is not None:
        return best, progress
    say(
        f"the checkpoint of step {progress.best_step}, the best by {config.monitor}, is gone or "
        f"damaged; the parameters of step {end.step}, the last, are taken"
    )
    return end.params, progress._replace(best=None, best_step=None)


def _average(
    checkpoints: Kept, steps: Sequence[int], like: dict[str, Params], say: Callable[[str], None]
) -> Params | None:
    """The mean of checkpoints; None, and a word, where one of them is damaged."""
    try:
        return checkpoints.average(steps, like)["params"]
    except CheckpointDamaged as error:
        say(f"{error} No average is taken, but the best parameters.")
        return None


def _best(checkpoints: Kept, step: int, like: dict[str, Params]) -> Params | None:
    """The parameters of the best step; None where they are damaged, or of another step."""
    try:
        found = checkpoints.restore_best(like)
    except CheckpointDamaged:
        return None
    return found.tree["params"] if found is not None and found.step == step else None
