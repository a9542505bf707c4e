"""Runs commands as processes of their own, and says how each ended.

A launcher is a function of jobs that yields them as they finish, in any order. What a job has
done stays in its files, so a job that was stopped goes on where its command is run again. Its
process holds its lock: one that a killed launcher left behind is waited for, never doubled.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from attention_jax.interruption import Interrupted, Signals

try:
    import fcntl
except ImportError:  # Windows has none; there two comparisons must not share a folder
    fcntl: Any = None


class Job(NamedTuple):
    """A command, and where it says what it does.

    Attributes:
      log: the file of its standard output and errors; made anew.
      go_on: added to the command where the file `begun` stands when it starts.
    """

    name: str
    command: tuple[str, ...]
    log: Path
    go_on: tuple[str, ...] = ()
    begun: Path | None = None

    def arguments(self) -> tuple[str, ...]:
        """The command as it is to be run now."""
        has_begun = self.begun is not None and self.begun.exists()
        return self.command + self.go_on if has_begun else self.command

    @property
    def lock(self) -> Path:
        """The file that its process holds as long as it lives."""
        return self.log.with_suffix(".lock")


class Finished(NamedTuple):
    """How a job ended; `reason` is None where all went well, else its last words."""

    job: Job
    reason: str | None
    seconds: float


class Stopped(Interrupted):
    """A signal arrived; the jobs at work were told, and saved what they had."""

    def __init__(self, number: int, name: str):
        RuntimeError.__init__(self, f"Stopped during {name}. Repeat the command to go on.")
        self.signal, self.exit_code, self._name = int(number), 128 + int(number), name

    def __reduce__(self) -> Any:
        return type(self), (self.signal, self._name)


@contextlib.contextmanager
def alone(path: Path) -> Generator[IO[str], None, None]:
    """Waits until no other holds a lock's file, nor a process that a killed one left behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"an earlier call still holds {path}; waiting for it", file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def local(jobs: Iterable[Job]) -> Iterator[Finished]:
    """Runs the jobs here, one after another.

    Raises:
      Stopped: SIGTERM or SIGINT arrived.
    """
    return map(run, jobs)


def run(job: Job, environment: dict[str, str] | None = None) -> Finished:
    """Runs one job in a process of its own, once none is left that runs it.

    Args:
      environment: variables that it has beside those of this process.

    Raises:
      Stopped: SIGTERM or SIGINT arrived.
    """
    start = time.monotonic()
    with alone(job.lock) as lock:
        code = _exit_code(job, lock, environment or {})
    return Finished(job, last_words(job.log, code) if code else None, time.monotonic() - start)


def last_words(log: Path, code: int | None = None) -> str:
    """The last line that a command wrote, where it says more than its exit code."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    said = [line.strip() for line in lines if line.strip()]
    if said and said[-1].startswith("error: "):
        return said[-1].removeprefix("error: ")
    ended = "it did not finish" if code is None else f"it ended with code {code}"
    return f"{ended}; its last line: {said[-1]}" if said else f"{ended}, and said nothing"


def _exit_code(job: Job, lock: IO[str], environment: dict[str, str]) -> int:
    """The exit code of the job's command; a signal is handed on to it, once."""
    with open(job.log, "w") as log, Signals() as signals:
        # In a session of its own a key pressed here reaches it once, by way of this process.
        process = subprocess.Popen(
            job.arguments(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
            pass_fds=() if fcntl is None else (lock.fileno(),),
            start_new_session=True,
        )
        told = False
        while True:
            try:
                code = process.wait(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                if signals.received and not told:
                    process.terminate()  # whatever arrived; workers of Ray block SIGINT
                    told = True
            except KeyboardInterrupt:
                process.kill()
        if signals.received:
            raise Stopped(signals.received, job.name)
    return code
