"""Places that flags name for what is written: refused at once, where nothing can be written."""

import os
from pathlib import Path

_LONGEST = 255  # bytes of a name, in all usual file systems


def folder(flag: str, named: str | os.PathLike[str]) -> Path:
    """A folder, or a place where one can be made; nothing is made yet.

    Args:
      flag: that names it, for errors.
      named: what it says.

    Raises:
      ValueError: there can be no folder.
    """
    above = _nearest(flag, Path(named))
    if not os.path.isdir(above):
        raise ValueError(
            f"`--{flag}` must be a folder, or a place for one; got {named}, where {above} is "
            f"{_kind(above)}. Name another place."
        )
    return Path(named)


def file(flag: str, named: str | os.PathLike[str]) -> Path:
    """A file, or a place where one can be written; nothing is written yet.

    Raises:
      ValueError: there can be no file.
    """
    path = Path(named)
    above = _nearest(flag, path)
    if os.path.isdir(path) or (above != path and not os.path.isdir(above)) or _is_lost(path):
        raise ValueError(
            f"`--{flag}` must be a file, or a place for one; got {named or repr(named)}, where "
            f"{above} is {_kind(above)}. Name another place."
        )
    return path


def _nearest(flag: str, path: Path) -> Path:
    """The path, or what is there of those above it.

    Raises:
      ValueError: the system has no such paths.
    """
    for part in path.parts:
        if "\0" in part or len(os.fsencode(part)) > _LONGEST:
            raise ValueError(
                f"`--{flag}` must be a path, of names up to {_LONGEST} bytes; got {part[:20]!r} "
                "and so on. Name another place."
            )
        if part == "~":
            raise ValueError(
                f"`--{flag}` must be a path; got {path}, whose ~ the shell leaves as it is behind "
                f"=. Write --{flag} {path}, with a space."
            )
    return next(x for x in (path, *path.absolute().parents) if os.path.lexists(x))


def _is_lost(path: Path) -> bool:
    """True for a link to nothing that could be made."""
    return (
        path.is_symlink() and not os.path.exists(path) and not os.path.isdir(path.resolve().parent)
    )


def _kind(path: Path) -> str:
    if os.path.isdir(path):
        return "a folder"
    if path.is_symlink() and not os.path.exists(path):
        return "a link to nothing"
    return "a file"
