"""Standard streams that may be closed: work goes on without them, and readers get whole lines."""

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from queue import Queue
from threading import Thread
from typing import Any, TextIO

from attention_jax.data.text_files import decode_lines

# A reader that is done, or a terminal that is closed: nobody misses what is not written.
_NOBODY_THERE = {errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ESHUTDOWN}
_MOST_WAITING = 4096  # lines that are read before they are asked for


class Lasting:
    """A text stream that swallows what is written to it once that fails, so that work goes on.

    Attributes:
      gone: True from then on.
      error: what failed, where it was not that its reader or its terminal is gone.
    """

    def __init__(self, stream: TextIO):
        self._stream, self.gone = stream, False
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
            if text.endswith("\n"):
                self._stream.flush()
        except OSError as error:
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        """Points the stream at nothing, so that what it still holds does not fail at the end."""
        if not self.gone and error.errno not in _NOBODY_THERE:
            self.error = error
        self.gone = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def protect() -> None:
    """Makes standard output and error lasting, and opens those that the caller has closed."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            # Else the next file to be opened would get its number, and receive what is printed.
            opened = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
            if opened != number:
                os.dup2(opened, number)
            stream = open(number, mode, encoding="utf-8", closefd=False)
        setattr(sys, name, stream if mode == "r" else Lasting(stream))


def is_read(stream: Any) -> bool:
    """False once nobody reads a stream any more."""
    return not getattr(stream, "gone", False)


def check_written() -> None:
    """Refuses to end well where what was printed is not written, as on a full disk.

    Raises:
      OSError: it is not.
    """
    sys.stdout.flush()
    error = getattr(sys.stdout, "error", None)
    if error is not None:
        raise OSError(f"standard output is not written in full: {error.strerror}.")


def input_lines() -> Iterator[str]:
    """The lines of standard input, read as those of files are."""
    file: Iterable[bytes] = getattr(sys.stdin, "buffer", ())
    return decode_lines(file, argument="standard input", name="it")


def in_chunks(lines: Iterable[str], *, most: int) -> Iterator[list[str]]:
    """Lines in lists of what there is: a slow writer gets answers at once, a fast one long lists.

    Args:
      lines: read in a thread of their own, as they come.
      most: lines of the longest list; the first ones are shorter, so that an answer comes soon.
    """
    queue: Queue[str | BaseException | None] = Queue(_MOST_WAITING)

    def read() -> None:
        try:
            for line in lines:
                queue.put(line)
            queue.put(None)
        except BaseException as error:  # raised again where lines are awaited
            queue.put(error)

    Thread(target=read, daemon=True).start()
    room, item = 8, queue.get()
    while item is not None:
        chunk: list[str] = []
        while isinstance(item, str):
            chunk.append(item)
            if len(chunk) == room or queue.empty():
                break
            item = queue.get()
        if chunk:
            yield chunk
        if isinstance(item, BaseException):
            raise item
        room, item = min(2 * room, most), None if item is None else queue.get()
