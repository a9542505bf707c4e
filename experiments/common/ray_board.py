"""A run over workers of Ray: the order that its processes get, and the board where they meet.

Only Python's own library is imported, so that Ray can send this module to machines.
"""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

# A process that somebody else told to stop has saved what it had.
_STOPPED = {128 + signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGHUP}


class Order(NamedTuple):
    """A command that several workers run as one program.

    Attributes:
      command: at first.
      again: after processes were lost, where the run has begun.
      run: its folder; None where nothing is to be gone on with.
      before: the record that stood in that folder before.
      folder: that commands start in.
      variables: of the environment, beside those of the worker.
    """

    command: tuple[str, ...]
    again: tuple[str, ...]
    run: str | None
    before: bytes | None
    folder: str
    variables: Mapping[str, str]

    def next(self, attempt: int) -> tuple[str, ...]:
        """The command of an attempt, from 1."""
        if attempt == 1 or self.run is None or not Path(self.run, "run.flags").exists():
            return self.command
        return self.again if record(self.run) != self.before else self.command


def record(run: str) -> bytes | None:
    """The mark by which a run is told from another in its folder; None where there is none."""
    path = Path(run, "run.json")
    return path.read_bytes() if path.exists() else None


class News(NamedTuple):
    """All that the board knows.

    Attributes:
      attempt: how often all processes were started.
      signals: that the launcher passes on, as they came.
      codes: exit codes by the numbers of processes, as they ended; None of one that was ended
        because another had failed. Negative ones are signals.
      last: last lines of errors by the numbers of processes.
    """

    attempt: int
    signals: tuple[int, ...]
    codes: dict[int, int | None]
    last: dict[int, str]

    @property
    def is_stopped(self) -> bool:
        """True where the launcher was told to stop."""
        return any(128 + number in _STOPPED for number in self.signals)

    @property
    def is_lost(self) -> bool:
        """True where a process ended that nobody who is asked here told to.

        JAX ends a process by SIGABRT where another is gone.
        """
        codes = [code for code in self.codes.values() if code is not None]
        lost = any(x in _STOPPED or (x < 0 and x != -signal.SIGABRT) for x in codes)
        return lost and not self.is_stopped

    @property
    def failed(self) -> int | None:
        """The number of the process that failed first; one that JAX ended only without others."""
        found = [number for number, code in self.codes.items() if code]
        return min(found, key=lambda x: self.codes[x] == -signal.SIGABRT, default=None)


class Board:
    """An actor of Ray, by which processes and their launcher tell each other how they are."""

    def __init__(self) -> None:
        self._attempt = 0
        self._signals: list[int] = []
        self._codes: dict[int, int | None] = {}
        self._last: dict[int, str] = {}
        self._said: list[tuple[int, bytes]] = []

    def begin(self) -> News:
        """Counts an attempt, of which no process has ended; of signals only a stop counts still."""
        self._attempt, self._codes, self._last = self._attempt + 1, {}, {}
        if not self.news().is_stopped:
            self._signals = []
        return self.news()

    def news(self) -> News:
        """All that is known now."""
        return News(self._attempt, tuple(self._signals), dict(self._codes), dict(self._last))

    def pass_on(self, number: int) -> None:
        """Takes a signal for all processes."""
        self._signals.append(number)

    def end(self, number: int, code: int | None, last: str) -> None:
        """Notes how a process ended."""
        self._codes[number], self._last[number] = code, last

    def say(self, stream: int, text: bytes) -> None:
        """Takes output of process 0, to stream 1 or 2."""
        self._said.append((stream, text))

    def heard(self) -> list[tuple[int, bytes]]:
        """The output of process 0 since the last call."""
        said, self._said = self._said, []
        return said
