"""A profile of a few updates: the trace of JAX's profiler, and a table of what they took."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import jax

from attention_jax.core.files import write_whole
from attention_jax.core.types import State
from attention_jax.training import profile_shares, profile_trace

# Steps that compile come first; a profile of them would show little else.
PROFILE_AFTER = 10
TABLE = "shares.txt"
# The names of the functions of `step.Steps`, as XLA has them.
PROGRAMS = ("jit_whole", "jit_gather", "jit_update", "jit_zeros")


class Profile:
    """Profiler trace of `steps` steps, after `PROFILE_AFTER` in a row that compiled nothing.

    Args:
      folder: of the trace, and of the table in `TABLE`.
      steps: number of updates; 0 for no profile.
      say: prints the table.
    """

    def __init__(self, folder: Path, *, steps: int, say: Callable[[str], None]):
        self._folder, self._steps, self._say = folder, steps, say
        self._count, self._running = 0, False

    def tick(self, state: State, *, compiled: bool = False) -> None:
        """Counts a step and starts or ends the trace; to be called with each step's result.

        Args:
          state: the result, which is awaited where the trace starts or ends.
          compiled: the step was the first of its shape.
        """
        if not self._steps:
            return
        self._count = 0 if compiled and self._count < PROFILE_AFTER else self._count + 1
        if self._count == PROFILE_AFTER and not self._running:
            jax.block_until_ready(state)
            # A record of all calls of Python would slow down what is measured.
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0
            jax.profiler.start_trace(str(self._folder), profiler_options=options)
            self._running = True
        elif self._count == PROFILE_AFTER + self._steps:
            jax.block_until_ready(state)
            self.close()

    def close(self) -> None:
        """Ends a trace that runs, and writes and says its table."""
        if not self._running:
            return
        self._running = False
        with contextlib.suppress(RuntimeError):
            jax.profiler.stop_trace()
        self._tell(self._count - PROFILE_AFTER)

    def _tell(self, updates: int) -> None:
        found = profile_trace.newest(self._folder)
        if found is None or not updates:
            return
        text = profile_shares.table(profile_trace.read(found), updates=updates, programs=PROGRAMS)
        write_whole(self._folder / TABLE, f"{text}\n")
        self._say(text)
