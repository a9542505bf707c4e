"""Small files written whole, and numbers that tell whether contents are the same."""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Replaces a file at once: whatever happens meanwhile, the old one stands there or the new.

    The new file is written under another name beside it, flushed to the disk, and renamed.

    Raises:
      OSError: the disk is full, or the folder may not be written; the old file stays.
    """
    with whole(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def whole(path: str | os.PathLike[str]) -> Generator[IO[bytes], None, None]:
    """A file that is written bit by bit, and appears whole as `write_whole` has it, or not at all.

    A link is followed. What is no file, such as a pipe or /dev/stdout, is written to directly.

    Raises:
      OSError: as `write_whole`.
    """
    path = Path(path)
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        with open(path, "wb") as file:
            yield file
        return
    path = path.resolve()
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        with open(unfinished, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Generator[Path, None, None]:
    """A new folder that is filled under another name, and appears whole or not at all.

    Raises:
      ValueError: there is something at that place already, other than an empty folder.
      OSError: the disk is full, or a folder may not be written.
    """
    path = Path(path).absolute()
    require_empty("path", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        unfinished.mkdir()
        yield unfinished
        unfinished.replace(path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def require_empty(name: str, path: str | os.PathLike[str]) -> None:
    """Raises ValueError unless there is nothing at a path but perhaps an empty folder.

    Args:
      name: of the argument that it is.
    """
    if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
        raise ValueError(
            f"`{name}` must be a new or an empty folder; {path} is in use. Name another, or move "
            "it away."
        )


def content_hash(value: object) -> str:
    """SHA-256 of data by their content, whatever file or path they came from.

    Args:
      value: texts, numbers, arrays, None, and tuples, lists, mappings and iterables of such, to
        any depth. A function without arguments stands for what it returns, as the samples of a
        recording do.

    >>> content_hash([("a", 1), ("b", 2)]) == content_hash((["a", 1], ["b", 2]))
    True
    >>> content_hash(["ab", "c"]) == content_hash(["a", "bc"])
    False
    """
    digest = hashlib.sha256()
    _feed(digest.update, value)
    return digest.hexdigest()


def _feed(take: Callable[[bytes], None], value: Any) -> None:
    """Gives the bytes of a value, each with its kind and its length, so that none run together."""
    if isinstance(value, np.ndarray | np.generic):
        array = np.ascontiguousarray(value)
        take(f"array {array.dtype} {array.shape} ".encode())
        take(array.tobytes())
    elif isinstance(value, str | bytes):
        data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        take(f"{type(value).__name__} {len(data)} ".encode())
        take(data)
    elif value is None or isinstance(value, bool | int | float):
        take(f"{value!r} ".encode())
    elif isinstance(value, Mapping):
        _feed(take, sorted(value.items()))
    elif isinstance(value, Iterable):
        take(b"( ")
        for one in value:
            _feed(take, one)
        take(b") ")
    elif callable(value):
        _feed(take, value())
    else:
        raise TypeError(f"`value` must hold texts, numbers and arrays; got {type(value).__name__}.")
