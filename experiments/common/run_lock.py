"""One process a run: a lock in the run's folder that says who holds it."""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import IO, NamedTuple

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None

NAME = "run.lock"
RENEWED_EVERY = 30.0  # seconds
# A lock of another machine that was not renewed for so many seconds is taken over: files of some
# networks can be locked by one machine alone, so only their times tell.
STALE_AFTER = 180.0


class Holder(NamedTuple):
    """The process that holds a lock."""

    host: str
    process: int
    since: str


class RunInUse(ValueError):
    """Another process trains the run."""


@contextlib.contextmanager
def held(folder: Path) -> Generator[None, None, None]:
    """Holds the lock of a run's folder; that of a process that is gone is taken over.

    Raises:
      RunInUse: another process holds it.
    """
    path = folder / NAME
    file = _opened(path)
    done = threading.Event()
    renewal = threading.Thread(target=_renew, args=(path, done), daemon=True)
    try:
        _take_over(path, file)
        try:
            _sign(file)
            renewal.start()
            yield
        finally:
            done.set()
            if renewal.ident is not None:
                renewal.join()
            with contextlib.suppress(OSError):
                path.unlink()
    finally:
        file.close()


def is_held(folder: Path) -> bool:
    """True where a process holds the lock of a run's folder; no lock is made or changed."""
    path = folder / NAME
    if not path.exists():
        return False
    try:
        file = _opened(path)
    except RunInUse:
        return True
    with file:
        return _is_of_another_machine(path, _holder(file))


def _sign(file: IO[str]) -> None:
    """Writes into a lock who holds it."""
    file.seek(0)
    file.truncate()
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    json.dump(Holder(socket.gethostname(), os.getpid(), since)._asdict(), file)
    file.flush()


def _opened(path: Path) -> IO[str]:
    """The file of a lock, locked where the system can; the one that stands there now."""
    while True:
        file = open(path, "a+", encoding="utf-8")
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_ino == os.stat(path).st_ino:
                return file
        except BlockingIOError:
            holder = _holder(file)
            file.close()
            raise RunInUse(_in_use(path, holder)) from None
        except FileNotFoundError:
            pass  # its holder has just ended
        file.close()


def _take_over(path: Path, file: IO[str]) -> None:
    """Refuses a lock that another machine still renews; says so where one is taken over."""
    holder = _holder(file)
    if holder is None:
        return
    if _is_of_another_machine(path, holder):
        age = time.time() - path.stat().st_mtime
        raise RunInUse(
            f"{_in_use(path, holder)} Its lock was renewed {max(age, 0):.0f} s ago; where that "
            f"process is gone, delete {path}, or wait {STALE_AFTER:.0f} s."
        )
    print(
        f"process {holder.process} on {holder.host} left {path} behind; its run goes on here",
        file=sys.stderr,
    )


def _is_of_another_machine(path: Path, holder: Holder | None) -> bool:
    """True for a lock that another machine still renews."""
    if holder is None or (holder.host == socket.gethostname() and fcntl is not None):
        return False
    return time.time() - path.stat().st_mtime < STALE_AFTER


def _holder(file: IO[str]) -> Holder | None:
    """Who wrote a lock; None where nobody finished doing so."""
    file.seek(0)
    try:
        found = json.loads(file.read())
        return Holder(str(found["host"]), int(found["process"]), str(found["since"]))
    except (ValueError, KeyError, TypeError):
        return None


def _in_use(path: Path, holder: Holder | None) -> str:
    who = f"process {holder.process} on {holder.host}" if holder else "another process"
    since = f" since {holder.since}" if holder else ""
    return (
        f"`--run` must be trained by one process at a time; {who} trains {path.parent}{since}. "
        "Wait until it ends, or name another folder."
    )


def _renew(path: Path, done: threading.Event) -> None:
    """Sets the time of a lock's file again and again, until its holder is done."""
    while not done.wait(RENEWED_EVERY):
        with contextlib.suppress(OSError):
            os.utime(path)
