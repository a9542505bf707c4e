"""Batches of training on the devices: each process reads the rows of its own."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from attention_jax.core.types import State
from attention_jax.data.batching import Batch, Batches, OwnRows, Part, pipeline
from attention_jax.parallel import placement, processes
from attention_jax.parallel.layout import Layout


class Feed:
    """An endless, resumable iterator over batches.

    Args:
      batches: of training.
      layout: on a mesh; None for one device, where batches stay as they are.
    """

    def __init__(self, batches: Batches, layout: Layout | None):
        self._layout, self._batches = layout, batches
        source: Any = batches
        if layout is not None and processes.several():
            source = OwnRows(batches, partial(_own, layout))
            self._count = jax.jit(jnp.sum, out_shardings=layout.whole)
        self._iterator = pipeline(source)

    def first(self) -> Batch:
        """The first batch, whole, as an update takes it."""
        batch = self._batches[0]
        return batch if self._layout is None else self._layout.place(batch)

    def __next__(self) -> tuple[Batch, int | jax.Array]:
        """A batch, and the number of its predictions, which may still be computed."""
        found = next(self._iterator)
        if self._layout is None:
            return found, int(found.weights.sum())
        if not isinstance(found, Part):
            return self._layout.place(found), int(found.weights.sum())
        batch = self._layout.place_part(found.batch, found.rows)
        return batch, self._count(batch.weights)

    def get_state(self) -> State:
        """Position, as plain data."""
        return self._iterator.get_state()

    def set_state(self, state: State) -> None:
        """Goes to a position."""
        self._iterator.set_state(state)


def _own(layout: Layout, rows: int) -> tuple[int, slice]:
    """Rows of a batch filled up, and those of this process."""
    filled = placement.rounded_up(rows, layout.shape.rows)
    return filled, placement.own_rows(layout.mesh, filled)
