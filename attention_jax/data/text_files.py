"""Readers of text files: plain, gzipped, or a member of a zip archive."""

import codecs
import gzip
import io
import os
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path

from attention_jax.core.calls import clear_calls
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.wording import one_line

UNICODE_FORMS = ("nfc", "nfkc", "none")
_SPACES = re.compile(r"[ \t]+")


@typed_calls
def read_lines(path: str | PathLike, *, argument: str) -> list[str]:
    """Lines of a UTF-8 text file, without line ends.

    Only a line feed, with or without a carriage return, ends a line. Arguments and errors are those
    of `read_text`.
    """
    data = _read_bytes(Path(path), argument=argument)
    return list(decode_lines(io.BytesIO(data), argument=argument, name=str(path)))


def decode_lines(file: Iterable[bytes], *, argument: str, name: str) -> Iterator[str]:
    """Lines of UTF-8 text, one at a time, without line ends and without a byte order mark.

    Args:
      file: lines of bytes, each ended by a line feed, as binary files give them.
      argument: the caller's name for the file in errors.
      name: that of the file.

    Raises:
      ValueError: a line is not UTF-8, or holds a NUL.

    >>> list(decode_lines([b"one\\r\\n", b"two"], argument="file", name="x.txt"))
    ['one', 'two']
    """
    for number, line in enumerate(file, 1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _no_utf8(line, error.start, number, argument, name) from error
        if "\0" in text:
            raise _nul(number, argument, name)
        yield text.removesuffix("\n").removesuffix("\r")


@typed_calls
def read_text(path: str | PathLike, *, argument: str) -> str:
    """Contents of a UTF-8 text file.

    "x.gz" is decompressed. "x.zip" stands for its only text file, "x.zip/folder/name" for the
    member of that name.

    Args:
      path: the file.
      argument: the caller's name for it in errors.

    Raises:
      FileNotFoundError: there is no such file, or no such member of the archive.
      ValueError: a damaged archive, an archive of several text files, not UTF-8, or a NUL.
    """
    data = _read_bytes(Path(path), argument=argument)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _no_utf8(data, error.start, line, argument, str(path)) from error
    if "\0" in text:
        raise _nul(text.count("\n", 0, text.index("\0")) + 1, argument, str(path))
    return text


def _no_utf8(data: bytes, at: int, line: int, argument: str, name: str) -> ValueError:
    is_wide = line == 1 and data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return ValueError(
        f"`{argument}` must be UTF-8 text; line {line} of {name} holds the byte "
        f"0x{data[at]:02x}. Convert it first, e.g. iconv -f {'UTF-16' if is_wide else 'LATIN1'} "
        "-t UTF-8."
    )


def _nul(line: int, argument: str, name: str) -> ValueError:
    return ValueError(
        f"`{argument}` must be text; line {line} of {name} holds a NUL, the byte 0x00. If the file "
        "is UTF-16, convert it by iconv -f UTF-16LE -t UTF-8; else take it out by tr -d '\\000'."
    )


@clear_calls
def unicode_form(text: str, form: str) -> str:
    """`text` in a normal form of Unicode, in which equal letters are equal characters.

    Args:
      form: one of `UNICODE_FORMS`: "nfc" composes letters with their accents, "nfkc" also makes
        one of variants of a character, such as full-width digits; "none" changes nothing.

    >>> unicode_form("e\u0301", "nfc") == "\u00e9"
    True
    """
    if not isinstance(text, str):
        raise ValueError(f"`text` must be text; got {text!r}. Convert it by `str`.")
    if form not in UNICODE_FORMS:
        raise ValueError(f"`form` must be one of {', '.join(UNICODE_FORMS)}; got {form!r}.")
    return text if form == "none" else unicodedata.normalize(form.upper(), text)  # ty: ignore


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
    archive = next(
        (p for p in (path, *path.parents) if p.suffix == ".zip" and os.path.isfile(p)), None
    )
    if archive is not None:
        return _read_member(archive, path.relative_to(archive).as_posix(), argument=argument)
    if not os.path.isfile(path):
        found = "is a folder" if os.path.isdir(path) else "does not exist"
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
    reason = one_line(error)
    return ValueError(
        f"`{argument}` must name a file that can be unpacked; {path} is damaged or not of the "
        f"kind its name says ({reason}). Fetch it again."
    )
