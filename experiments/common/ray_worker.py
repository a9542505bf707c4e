"""What a worker of Ray Train does for `scripts/launch --ray`: it runs one process of the run.

Ray calls `work` in each worker, which asks the board, an actor, for news. Only Python's own library
and Ray are imported, so that Ray can send this module to machines.
"""

import collections
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

LOOK_EVERY, SETTLED_AFTER = 0.2, 1.0  # seconds
# A process that waits for one that is gone does not listen; one that saves a checkpoint takes long.
AFTER_FAILURE, AFTER_SIGNAL = 5.0, 120.0
LAST_LINES = 20
# A process that somebody else told to stop has saved what it had.
_STOPPED = {128 + signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGHUP}
# The system kills the program together with the thread of the worker that waits for it.
_DIES_WITH_ITS_WORKER = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"error: {sys.argv[2]} cannot be run: {error.strerror}")
"""


class Lost(RuntimeError):
    """A process of the run was killed, or told to stop by somebody else: Ray starts all again."""


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
    """What tells a run from another in the same folder; None where there is none."""
    path = Path(run, "run.json")
    return path.read_bytes() if path.exists() else None


class News(NamedTuple):
    """What the board knows.

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
    """What processes and their launcher tell each other; an actor of Ray."""

    def __init__(self) -> None:
        self._attempt = 0
        self._signals: list[int] = []
        self._codes: dict[int, int | None] = {}
        self._last: dict[int, str] = {}
        self._said: list[tuple[int, bytes]] = []

    def begin(self) -> News:
        """Counts an attempt, of which no process has ended."""
        self._attempt, self._codes, self._last = self._attempt + 1, {}, {}
        return self.news()

    def news(self) -> News:
        """What is known now."""
        return News(self._attempt, tuple(self._signals), dict(self._codes), dict(self._last))

    def pass_on(self, number: int) -> None:
        """Takes a signal for all processes."""
        self._signals.append(number)

    def end(self, number: int, code: int | None, last: str) -> None:
        """Notes how a process ended."""
        self._codes[number], self._last[number] = code, last

    def say(self, stream: int, text: bytes) -> None:
        """Takes what process 0 writes to stream 1 or 2."""
        self._said.append((stream, text))

    def heard(self) -> list[tuple[int, bytes]]:
        """What process 0 has written since the last call."""
        said, self._said = self._said, []
        return said


def work(given: Mapping[str, Any]) -> None:
    """Runs one process of the run, from its start to its end.

    Args:
      given: the `order`, and the actor `board`.

    Raises:
      Lost: a process of the run was lost, so that all are to be started again.
    """
    from ray import get, train
    from ray.train.collective import broadcast_from_rank_zero

    order, board = given["order"], given["board"]
    context = train.get_context()
    number, count = context.get_world_rank(), context.get_world_size()
    start = broadcast_from_rank_zero(_start(order, get(board.begin.remote())) if not number else 0)
    if start is None:
        return
    command, address = start
    own = {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": str(count),
        "JAX_PROCESS_ID": str(number),
    }
    try:
        process = _begun(command, order.folder, {**os.environ, **order.variables, **own})
        readers = _Readers(process, board if number == 0 else None)
        code = _watched(process, _news(board))
        last = readers.ended()
    except OSError as error:
        code, last = 1, f"error: {order.folder} on {socket.gethostname()}: {error.strerror}\n"
    get(board.end.remote(number, code, last))
    news = next(x for x in _news(board) if len(x.codes) == count)
    if news.is_lost:
        raise Lost(f"process {news.failed} was lost")


def _start(order: Order, news: News) -> tuple[tuple[str, ...], str] | None:
    """The command of all processes, and where they meet; None where they are not to start."""
    if news.is_stopped:
        return None
    import ray

    host = ray.util.get_node_ip_address()
    with socket.socket() as free:
        free.bind((host, 0))
        return order.next(news.attempt), f"{host}:{free.getsockname()[1]}"


def _begun(
    command: tuple[str, ...], folder: str, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """A process that ends with the thread that calls this; a Ctrl-C does not reach it."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _DIES_WITH_ITS_WORKER, str(os.getpid()), *command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _news(board: Any) -> Iterator[News]:
    import ray

    while True:
        yield ray.get(board.news.remote())
        time.sleep(LOOK_EVERY)


def _watched(process: subprocess.Popen[bytes], news: Iterator[News]) -> int | None:
    """The exit code of a process; None where it is ended because another has failed."""
    passed_on, failed_at, is_ended = 0, float("inf"), False
    while (code := process.poll()) is None:
        now = next(news)
        for number in now.signals[passed_on:]:
            process.send_signal(number)
        passed_on = len(now.signals)
        if now.failed is not None:
            failed_at = min(failed_at, time.monotonic())
        # Others may bring this one down before it is told; how it ends then is no news.
        waited = time.monotonic() - failed_at - SETTLED_AFTER
        if waited > (AFTER_SIGNAL if now.is_stopped else AFTER_FAILURE):
            process.kill()
            is_ended = True
        elif waited > 0 and not now.is_stopped and not is_ended:
            process.terminate()
            is_ended = True
    return None if is_ended else code


class _Readers:
    """Threads that read what a process writes: all of process 0, of others the last errors."""

    def __init__(self, process: subprocess.Popen[bytes], board: Any | None):
        self._last: collections.deque[bytes] = collections.deque(maxlen=LAST_LINES)
        self._board = board
        pairs = ((1, process.stdout), (2, process.stderr))
        self._threads = [threading.Thread(target=self._read, args=x, daemon=True) for x in pairs]
        for thread in self._threads:
            thread.start()

    def ended(self) -> str:
        """Last lines of errors, once all is read; what the process has started may go on."""
        for thread in self._threads:
            thread.join(timeout=AFTER_FAILURE)
        return b"".join(self._last).decode(errors="replace")

    def _read(self, stream: int, file: IO[bytes]) -> None:
        if self._board is not None:
            while text := os.read(file.fileno(), 1 << 16):
                self._board.say.remote(stream, text)
            return
        for line in file:
            if stream == 2:
                self._last.append(line)
