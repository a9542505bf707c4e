"""Runs commands as processes of their own, and says how each ended.

A launcher is a function of jobs that yields them as they finish, in any order. What a job has
done stays in its files, so a job that was stopped goes on where its command is run again. Its
process holds its lock: one that a killed launcher left behind is waited for, never doubled.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from attention_jax.training.preemption import Preempted, PreemptionGuard

try:
    import fcntl
except ImportError:  # Windows has none; there two comparisons must not share a folder
    fcntl: Any = None

_NEAR = 8  # lines before the end, within which an error is the last word
_PAUSE = 0.05  # seconds between two looks at the jobs
_LAUNCH = Path(__file__).parents[2] / "scripts" / "_launch.py"
_HELD = "an earlier call still holds {}; waiting for it"


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

    def under(self, *launcher: str) -> "Job":
        """The job as another program runs its command, which follows after --."""
        return self._replace(command=(*launcher, "--", *self.command))

    @property
    def lock(self) -> Path:
        """The file that its process holds as long as it lives."""
        return self.log.with_suffix(".lock")


class Finished(NamedTuple):
    """How a job ended; `reason` is None where all went well, else its last words."""

    job: Job
    reason: str | None
    seconds: float


class Stopped(Preempted):
    """A signal arrived; the jobs at work were told, and saved what they had."""

    def __init__(self, number: int, name: str):
        RuntimeError.__init__(self, f"Stopped during {name}. Repeat the command to go on.")
        self.signal, self.exit_code, self._name = int(number), 128 + int(number), name

    def __reduce__(self) -> Any:
        return type(self), (self.signal, self._name)


def cores() -> int:
    """Cores that this process may use."""
    own = getattr(os, "sched_getaffinity", None)
    return len(own(0)) if own else os.cpu_count() or 1


def threads(count: int) -> dict[str, str]:
    """Variables of a process that is to compute in so many threads."""
    return {"NPROC": str(count)}  # which XLA reads


@contextlib.contextmanager
def alone(path: Path) -> Generator[None, None, None]:
    """Waits until no other holds a lock's file, nor a process that a killed one left behind."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w") as lock:
            if not _take(lock):
                print(_HELD.format(path), file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
            # A call that was refused deletes the file, for which others may have waited.
            if path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                yield
                return


def _take(lock: IO[str]) -> bool:
    """Takes a lock, unless another holds it."""
    try:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def local(
    jobs: Iterable[Job],
    *,
    at_once: int = 1,
    environment: Mapping[str, str] | None = None,
    processes: int = 1,
) -> Iterator[Finished]:
    """Runs jobs here, each in a process of its own, once none is left that runs it.

    Args:
      at_once: how many at a time.
      environment: variables that they have beside those of this process.
      processes: of each; several are started by `scripts/launch`.

    Raises:
      Stopped: SIGTERM or SIGINT arrived.
    """
    waiting, working = deque(jobs), list[_Work]()
    with PreemptionGuard() as signals:
        while waiting or working or signals.received:
            if signals.received:
                raise _stopped(signals.received, working, len(waiting))
            while waiting and len(working) < at_once:
                working.append(_Work(waiting.popleft(), environment or {}, processes))
            ended = [done for one in working if (done := one.finished())]
            working = [one for one in working if not one.lock.closed]
            yield from ended
            if not ended:
                time.sleep(_PAUSE)


def last_words(log: Path, code: int | None = None) -> str:
    """The last line that a command wrote, where it says more than its exit code."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    # What starts several processes says which of them failed after that has said why.
    said = [x.strip() for x in lines if x.strip() and not x.startswith("scripts/launch")]
    # Other processes of it may write a little after the one that failed.
    errors = [x for x in said[-_NEAR:] if x.startswith("error: ")]
    if errors:
        return errors[-1].removeprefix("error: ")
    ended = "it did not finish" if code is None else f"it ended with code {code}"
    return f"{ended}; its last line: {said[-1]}" if said else f"{ended}, and said nothing"


class _Work:
    """A job at work, or waiting for the process that an earlier call left behind.

    Attributes:
      lock: its file, held by the process too; closed when the job has ended.
    """

    def __init__(self, job: Job, environment: Mapping[str, str], processes: int):
        self.job, self._environment, self._start = job, environment, time.monotonic()
        launcher = (sys.executable, str(_LAUNCH), "-n", str(processes))
        self._asked = job if processes == 1 else job.under(*launcher)
        job.lock.parent.mkdir(parents=True, exist_ok=True)
        self.lock = open(job.lock, "w")
        self._process = self._begun()
        if self._process is None:
            print(_HELD.format(job.lock), file=sys.stderr)

    def finished(self) -> Finished | None:
        """How it ended, unless it is still at work."""
        self._process = self._process or self._begun()
        if self._process is None or (code := self._process.poll()) is None:
            return None
        self.lock.close()
        reason = last_words(self.job.log, code) if code else None
        return Finished(self.job, reason, time.monotonic() - self._start)

    def tell(self, number: int) -> None:
        """Sends it a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def wait(self) -> None:
        """Waits for its end."""
        if self._process is not None:
            self._process.wait()
        self.lock.close()

    def _begun(self) -> subprocess.Popen[bytes] | None:
        """Its process, once the lock is free."""
        if not _take(self.lock):
            return None
        with open(self.job.log, "w") as log:
            # In a session of its own a key pressed here reaches it once, by way of this process.
            return subprocess.Popen(
                self._asked.arguments(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._environment},
                pass_fds=() if fcntl is None else (self.lock.fileno(),),
                start_new_session=True,
            )


def _stopped(number: int, working: list[_Work], waiting: int) -> Stopped:
    """Hands a signal on, and waits until all have saved what they had; a second one kills."""
    for one in working:
        one.tell(signal.SIGTERM)  # whatever arrived; workers of Ray block SIGINT
    try:
        for one in working:
            one.wait()
    except KeyboardInterrupt:
        for one in working:
            one.tell(signal.SIGKILL)
            one.wait()
    is_one = len(working) == 1 and not waiting
    return Stopped(number, working[0].job.name if is_one else f"{len(working) + waiting} jobs")
