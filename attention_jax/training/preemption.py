"""Graceful stop on SIGTERM and SIGINT."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any


class Preempted(RuntimeError):
    """Training was stopped by a signal, after a checkpoint was saved.

    Attributes:
      signal: number of the signal.
      exit_code: 128 + signal, as shells report a process that a signal ended.
    """

    def __init__(self, number: int, *, step: int, folder: Path):
        super().__init__(
            f"Stopped by {signal.Signals(number).name} after step {step}; a checkpoint is in "
            f"{folder}. Repeat the command with --resume to continue."
        )
        self.signal, self.exit_code = int(number), 128 + int(number)


class PreemptionGuard:
    """Context manager that records SIGTERM and SIGINT; a second signal interrupts at once.

    The former handlers are restored on exit. Outside the main thread, where Python allows no
    handlers, no signal is recorded.

    Attributes:
      received: number of the signal that arrived, or 0.
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
            # None stands for a handler that was not installed from Python and cannot be restored.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.received:
            raise KeyboardInterrupt
        self.received = number
