"""The updates of a run: the next batches, the compiled functions, and the time that each takes."""

import contextlib
import time
from typing import Any

import jax

from attention_jax.data.batching import Batch
from attention_jax.training.feed import Feed
from attention_jax.training.step import Steps, Totals, TrainState
from attention_jax.training.time_shares import Clock


class Updates:
    """Updates a state by the next batches.

    Each update is only sent on its way: while it runs, the next batch is made, and the one after it
    is sent. So a batch costs time only where no update runs.

    Attributes:
      compiled: True where the last update had a batch of a new shape.

    Args:
      steps: the compiled functions.
      feed: of the batches.
      accumulate: batches an update.
      clock: counts the time.
    """

    def __init__(self, steps: Steps, feed: Feed, *, accumulate: int, clock: Clock):
        self.compiled = False
        self._steps, self._feed, self._accumulate = steps, feed, accumulate
        self._clock = clock
        self._shapes: set[tuple[tuple[int, ...], ...]] = set()
        self._sent: Any = None  # a result of what was sent last

    def trace(self, state: TrainState, batch: Batch) -> None:
        """Goes through an update with shapes alone, so that what it refuses is refused first."""
        if self._accumulate == 1:
            jax.eval_shape(self._steps.whole, state, batch)
        else:
            sums = jax.eval_shape(self._steps.zeros, state.params), Totals.zero()
            sums = jax.eval_shape(self._steps.gather, state, batch, 0, *sums)
            jax.eval_shape(self._steps.update, state, *sums)

    def __call__(self, state: TrainState) -> tuple[TrainState, int | jax.Array]:
        """The state after the next update, and the number of its target tokens.

        The number may still be computed, where other processes read a part of the batch.
        """
        self.compiled = False
        if self._accumulate == 1:
            batch, tokens = self._next_batch()
            with self._sending(batch):
                state, totals = self._steps.whole(state, batch)
            self._sent = totals.loss
            return state, tokens
        tokens, gradient, totals = 0, self._steps.zeros(state.params), Totals.zero()
        for index in range(self._accumulate):
            batch, own = self._next_batch()
            with self._sending(batch):
                gradient, totals = self._steps.gather(state, batch, index, gradient, totals)
            self._sent = None  # donated to the next one
            tokens += own
        with self._clock.of("updates"):
            state, totals = self._steps.update(state, gradient, totals)
        self._sent = totals.loss
        return state, tokens

    def wait(self) -> None:
        """Waits until all that was sent is done, which is the time of updates."""
        with self._clock.of("updates"):
            jax.block_until_ready(self._sent)

    def _next_batch(self) -> tuple[Batch, int | jax.Array]:
        start = time.monotonic()
        found = next(self._feed)
        is_idle = self._sent is None or self._sent.is_ready()
        self._clock.add("input" if is_idle else "updates", time.monotonic() - start)
        return found

    def _sending(self, batch: Batch) -> contextlib.AbstractContextManager[None]:
        """Counts what happens inside as compilation for the first batch of its shape."""
        shape = tuple(leaf.shape for leaf in jax.tree.leaves(batch))
        is_new = shape not in self._shapes
        self._shapes.add(shape)
        self.compiled |= is_new
        return self._clock.of("compilation" if is_new else "updates")
