"""Graceful stop on SIGTERM, SIGINT and SIGHUP, and a checkpoint on SIGUSR1."""

import contextlib
import os
import shlex
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
            f"{folder / 'checkpoints'}. Repeat the command with --run={shlex.quote(str(folder))} "
            "--resume to continue."
        )
        self.signal, self.exit_code = int(number), 128 + int(number)


# By name: Windows has only the first two.
_STOPS = tuple(getattr(signal, n) for n in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, n))
_SAVE = getattr(signal, "SIGUSR1", None)


def outlive_requests_to_save() -> None:
    """Lets SIGUSR1 do nothing where no guard takes it; by default it ends the process."""
    is_main = threading.current_thread() is threading.main_thread()
    if _SAVE is not None and is_main and signal.getsignal(_SAVE) == signal.SIG_DFL:
        signal.signal(_SAVE, lambda *_: None)


class PreemptionGuard:
    """Context manager that records signals; a second one that stops interrupts at once.

    SIGTERM, SIGINT (Ctrl-C) and SIGHUP (a closed terminal) ask to stop; SIGUSR1, which schedulers
    send some time before they end a job, asks for a checkpoint. A signal that the process ignores,
    as it does SIGHUP under nohup, stays ignored. The former handlers are restored on exit. Outside
    the main thread, where Python allows no handlers, no signal is recorded.

    Attributes:
      received: number of the signal that asks to stop, or 0.
      asked_to_save: True once SIGUSR1 has arrived, until it is set to False.
    """

    def __init__(self):
        self.received, self.asked_to_save = 0, False
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "PreemptionGuard":
        if threading.current_thread() is threading.main_thread():
            for number in (*_STOPS, _SAVE):
                if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                    self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._former.items():
            # None stands for a handler that was not installed from Python and cannot be restored.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == _SAVE:
            self.asked_to_save = True
        elif self.received:
            raise KeyboardInterrupt
        else:
            self.received = number
            if number == signal.SIGINT:
                _say("stopping after this step; a second Ctrl-C stops at once\n")


def _say(text: str) -> None:
    """Writes to standard error as a handler of signals may, where there is one."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode())
