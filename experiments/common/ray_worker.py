"""One process of a run, as a worker of Ray Train runs it for `scripts/launch --ray`.

Ray calls `work` in each worker, which asks the board, an actor, for news. Only Python's own library
and Ray are imported beside it, so that Ray can send this module to machines.
"""

import collections
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import IO, Any

from experiments.common.ray_board import News, Order

LOOK_EVERY, SETTLED_AFTER = 0.2, 1.0  # seconds
# A process that waits for one that is gone does not listen; one that saves a checkpoint takes long.
AFTER_FAILURE, AFTER_SIGNAL = 5.0, 120.0
LAST_LINES = 20
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
        if number == 0:
            board.say.remote(2, last.encode())
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
    """Threads that read what a process writes: its last errors, and of process 0 all."""

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
                if stream == 2:
                    self._last.extend(text.splitlines(keepends=True))
            return
        for line in file:
            if stream == 2:
                self._last.append(line)
