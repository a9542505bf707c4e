"""Readers of text files: plain, gzipped, or a member of a zip archive."""

import gzip
import re
import zipfile
import zlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

_SPACES = re.compile(r"[ \t]+")


def read_lines(path: str | PathLike, *, argument: str) -> list[str]:
    """Lines of a UTF-8 text file, without line ends.

    Only a line feed, with or without a carriage return, ends a line. Arguments and errors are those
    of `read_text`.
    """
    lines = [line.removesuffix("\r") for line in read_text(path, argument=argument).split("\n")]
    return lines if lines[-1] else lines[:-1]


def read_text(path: str | PathLike, *, argument: str) -> str:
    """Contents of a UTF-8 text file.

    "x.gz" is decompressed. "x.zip" stands for its only text file, "x.zip/folder/name" for the
    member of that name.

    Args:
      path: the file.
      argument: the caller's name for it in errors.

    Raises:
      FileNotFoundError: there is no such file, or no such member of the archive.
      ValueError: a damaged archive, an archive of several text files, or not UTF-8.
    """
    data = _read_bytes(Path(path), argument=argument)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"`{argument}` must be UTF-8 text; line {line} of {path} holds the byte "
            f"0x{data[error.start]:02x}. Convert it first, e.g. iconv -f LATIN1 -t UTF-8."
        ) from error


def one_spaced(text: str) -> str:
    """`text` with runs of spaces collapsed to one, and none at either end."""
    return _SPACES.sub(" ", text).strip(" ")


def line_numbers(numbers: Sequence[int]) -> str:
    """The first few line numbers, for an error message.

    >>> line_numbers([3])
    'line 3'
    >>> line_numbers([3, 5, 6, 7, 8, 9, 10])
    'lines 3, 5, 6, 7, 8 and 2 more'
    """
    shown = ", ".join(map(str, numbers[:5]))
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"line{'s' if len(numbers) > 1 else ''} {shown}{more}"


def _read_bytes(path: Path, *, argument: str) -> bytes:
    archive = next((p for p in (path, *path.parents) if p.suffix == ".zip" and p.is_file()), None)
    if archive is not None:
        return _read_member(archive, path.relative_to(archive).as_posix(), argument=argument)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"`{argument}` must name a file; {path} {found}.")
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, argument=argument, error=error) from error


def _read_member(archive: Path, member: str, *, argument: str) -> bytes:
    """A text file of a zip archive; `member` is "." if the caller named none."""
    try:
        with zipfile.ZipFile(archive) as opened:
            files = [info.filename for info in opened.infolist() if not info.is_dir()]
            return opened.read(_choose(files, member, archive=archive, argument=argument))
    except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, NotImplementedError) as error:
        raise _damaged(archive, argument=argument, error=error) from error


def _choose(files: list[str], member: str, *, archive: Path, argument: str) -> str:
    listing = ", ".join(files[:8]) or "no file"
    if member != ".":
        if member in files:
            return member
        raise FileNotFoundError(
            f"`{argument}` must name a file inside {archive}; it has no {member}. "
            f"It holds {listing}."
        )
    # Archives hold notes beside the data, whose names begin with "_" or ".", or say README.
    names = [(name, name.rsplit("/", 1)[-1]) for name in files]
    data = [name for name, last in names if not re.match(r"[._]|readme|licen[cs]e", last, re.I)]
    if len(data) != 1:
        raise ValueError(
            f"`{argument}` must say which file of {archive} to read, as in "
            f"{archive.name}/{(data or files or ['name'])[0]}; it holds {listing}."
        )
    return data[0]


def _damaged(path: Path, *, argument: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())
    return ValueError(
        f"`{argument}` must name a file that can be unpacked; {path} is damaged or not of the "
        f"kind its name says ({reason}). Fetch it again."
    )
