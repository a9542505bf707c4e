"""Requests to stop or to save, on which all processes of a training act at the same step."""

from typing import NamedTuple

from attention_jax.parallel import processes
from attention_jax.parallel.layout import Layout
from attention_jax.training.preemption import PreemptionGuard


class Wished(NamedTuple):
    """Requests to a training before its next step.

    Attributes:
      stop: number of the signal that asks to stop, or 0.
      save: above 0 where a checkpoint is asked for.
      late: above 0 where the time is up.
    """

    stop: int
    save: int
    late: int


class Wishes:
    """Requests of this process, or of any of several, which hear of them one step later.

    Args:
      layout: of the training; None on one device.
    """

    def __init__(self, layout: Layout | None):
        together = layout is not None and processes.several()
        self._agree = processes.Agreement(layout.mesh) if together and layout else None

    def __call__(self, signals: PreemptionGuard, *, late: bool) -> Wished:
        """The requests by now; that for a checkpoint is heard once."""
        save, signals.asked_to_save = signals.asked_to_save, False
        said = signals.received, int(save), int(late)
        return Wished(*(said if self._agree is None else self._agree(*said)))
