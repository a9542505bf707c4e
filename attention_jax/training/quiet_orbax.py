"""Silence of Orbax, which reports each file it touches, and each failure once a thread."""

import contextlib
import logging
import sys
from collections.abc import Callable, Generator
from typing import Any

# Reports of threads and tasks beside the one whose error is raised.
_BESIDE = ("Task exception was never retrieved", "Future exception was never retrieved")
_OF_ORBAX = ("_wrap_awaitable", "orbax", "tensorstore")
_THREAD = "_SignalingThread.run() raised an exception"
_CLOSED = "Event loop is closed"
_former: list[Callable[[Any], object]] = []  # hooks that stood before ours


@contextlib.contextmanager
def quiet_orbax() -> Generator[None, None, None]:
    """Suppresses what Orbax logs inside; what fails is raised, and said by who catches it.

    Threads that fail beside the first one end later; reports of those are dropped from then on.
    """
    absl = logging.getLogger("absl")
    absl.addFilter(_nothing)
    absl.addFilter(_is_of_others)
    logging.getLogger("asyncio").addFilter(_is_of_others)
    if sys.unraisablehook is not _unraisable:
        _former.append(sys.unraisablehook)
        sys.unraisablehook = _unraisable
    try:
        yield
    finally:
        absl.removeFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.CRITICAL


def _is_of_others(record: logging.LogRecord) -> bool:
    """False for the report of a thread or a task of Orbax, whose awaitables are tensorstore's."""
    said = record.getMessage()
    is_task = said.startswith(_BESIDE) and any(name in said for name in _OF_ORBAX)
    return not is_task and _THREAD not in said


def _unraisable(found: Any) -> None:
    """Reports what cannot be raised, but for threads that call a loop that has ended since."""
    if not isinstance(found.exc_value, RuntimeError) or str(found.exc_value) != _CLOSED:
        _former[-1](found)
