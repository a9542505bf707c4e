"""Stopping on a signal at a moment of one's own choice."""

import signal
import threading
from pathlib import Path
from typing import Any


class Preempted(RuntimeError):
    """Training was asked to stop by a signal, and saved what it had.

    Attributes:
      signal: the signal's number.
      exit_code: what a shell expects of a process that the signal ended: 128 + signal.
    """

    def __init__(self, number: int, *, step: int, folder: Path):
        super().__init__(
            f"Stopped by {signal.Signals(number).name} after step {step}; a checkpoint is in "
            f"{folder}. Repeat the command with --resume to go on."
        )
        self.signal, self.exit_code = int(number), 128 + int(number)


class PreemptionGuard:
    """Notes SIGTERM and SIGINT instead of dying of them; a second one interrupts at once.

    The former handlers return when the `with` block ends. Outside the main thread, where Python
    allows no handlers, nothing is noted.

    Attributes:
      received: the number of the signal that arrived, or 0.
    """

    def __init__(self):
        self.received = 0
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "PreemptionGuard":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._former.items():
            # None stands for a handler that was not set from Python, and cannot be.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: Any) -> None:
        del frame
        if self.received:
            raise KeyboardInterrupt
        self.received = number
