"""Seals of a run's small files: a changed byte is noticed before anything is read from them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attention_jax.core.files import content_hash

_LINE = "# sha256 "  # begins the last line of sealed lines, a comment of a flagfile
_KEY = "sha256"  # of a sealed record


def sealed_lines(text: str) -> str:
    """Lines of a flagfile, and their checksum as a comment below them."""
    return f"{text}{_LINE}{_digest(text)}\n"


def check_lines(path: Path, text: str, *, demanded: bool) -> None:
    """Refuses lines that are not as they were sealed.

    Args:
      path: of the file, for the error.
      text: what it holds.
      demanded: refuses lines without a seal too; runs of earlier versions have none.

    Raises:
      ValueError: they differ.
    """
    lines, found, seal = text.rpartition(_LINE)
    if found or demanded:
        if seal != f"{_digest(lines)}\n":
            raise _damaged(path)


def sealed_record(record: Mapping[str, Any]) -> str:
    """A record as JSON, with its checksum."""
    return json.dumps({**record, _KEY: _of_record(record)}, indent=1) + "\n"


def check_record(path: Path, found: Mapping[str, Any]) -> None:
    """Refuses a record that is not as it was sealed; those of earlier versions have no seal.

    Raises:
      ValueError: it differs.
    """
    own = {name: x for name, x in found.items() if name != _KEY}
    if _KEY in found and found[_KEY] != _of_record(own):
        raise _damaged(path)


def hashes_of(folder: Path, names: set[str]) -> dict[str, str]:
    """The content hash of each file of a folder."""
    return {name: content_hash((folder / name).read_bytes()) for name in sorted(names)}


def check_files(folder: Path, hashes: Mapping[str, str]) -> None:
    """Refuses files that differ from what their content hashes say; missing ones pass.

    Raises:
      ValueError: one differs.
    """
    for name, own in hashes.items():
        path = folder / name
        if path.is_file() and content_hash(path.read_bytes()) != own:
            raise _damaged(path)


def _of_record(record: Mapping[str, Any]) -> str:
    return _digest(json.dumps(record, sort_keys=True))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"`--run` must be the folder of a run as it was written; {path} was changed since (its "
        "checksum differs). Put back the file of a copy, or train anew."
    )
