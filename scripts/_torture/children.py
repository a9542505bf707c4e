"""Processes that train a tiny run, and are disturbed at a planned change of its folder.

An audit hook of Python counts what is opened for writing, renamed, made and removed under the
folder: at the planned number the process is killed, stopped, or given a signal. What libraries in
C++ write between two of these is reached by a delay after one.
"""

import multiprocessing
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

FORKS = multiprocessing.get_context("forkserver")
PRELOADED = [
    f"experiments.{name}"
    for name in ("language", "memory", "translation", "images", "common.train")
]
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
NEVER = 10**9


class Plan(NamedTuple):
    """What happens to a process.

    Attributes:
      at: number of the change of the folder before which it happens.
      signals: sent to itself one after another; none: it is killed.
      delay: seconds after the change; 0: before it.
      log: a file for the paths of all changes.
      file_size: largest file that it may write, in bytes; None for any.
    """

    at: int = NEVER
    signals: tuple[int, ...] = (signal.SIGKILL,)
    delay: float = 0.0
    log: str | None = None
    file_size: int | None = None


class Outcome(NamedTuple):
    """How a process ended: its exit code, minus the signal that ended it, and its errors."""

    code: int
    errors: str

    @property
    def is_traceback(self) -> bool:
        return "Traceback" in self.errors


class Child:
    """A script at work in a process of its own, forked from one that has imported it."""

    def __init__(self, script: str, given: list[str], watched: Path, plan: Plan, scratch: Path):
        scratch.mkdir(parents=True, exist_ok=True)
        self._errors = scratch / "errors.txt"
        task = (script, given, str(watched), plan, str(scratch))
        self.process = FORKS.Process(target=_work, args=task)
        self.process.start()

    def wait(self, seconds: float = 300.0) -> Outcome:
        """Its end; one that takes too long is killed, and has the code 99."""
        self.process.join(seconds)
        late = self.process.is_alive()
        if late:
            self.process.kill()
            self.process.join()
        code = self.process.exitcode
        errors = self._errors.read_text(errors="replace") if self._errors.exists() else ""
        return Outcome(99 if late or code is None else code, errors)


def prepare() -> None:
    """Starts the process from which all are forked."""
    FORKS.set_forkserver_preload(PRELOADED)


def _work(script: str, given: list[str], watched: str, plan: Plan, scratch: str) -> None:
    for number, name in enumerate(("output.txt", "errors.txt"), 1):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(f"{scratch}/{name}", flags), number)
    if plan.file_size is not None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (plan.file_size, resource.RLIM_INFINITY))
    sys.addaudithook(_Watch(watched, plan))
    sys.argv = [script, *given]
    runpy.run_module(f"experiments.{script}", run_name="__main__", alter_sys=True)


class _Watch:
    """Counts changes of a folder, and carries the plan out."""

    def __init__(self, watched: str, plan: Plan):
        self._watched, self._plan, self._count = watched, plan, 0
        self._log = None
        if plan.log:
            self._log = os.open(plan.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, bits = given
            writes = isinstance(bits, int) and bits & (os.O_WRONLY | os.O_RDWR)
            if not writes:
                return
        elif event not in _CHANGES:
            return
        path = given[0]
        if not isinstance(path, str | os.PathLike) or not str(path).startswith(self._watched):
            return
        self._count += 1
        if self._log is not None:
            os.write(self._log, f"{event} {path}\n".encode())
        if self._count == self._plan.at:
            self._act()

    def _act(self) -> None:
        plan = self._plan
        if plan.delay:
            # Ends the process as SIGKILL does: nothing handles it.
            signal.setitimer(signal.ITIMER_REAL, plan.delay)
            return
        for number in plan.signals:
            os.kill(os.getpid(), number)
