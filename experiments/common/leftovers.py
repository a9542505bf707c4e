"""Leftovers of killed processes: runs that never began, and old ones that were put aside."""

import contextlib
import glob
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Generator, Iterator
from pathlib import Path

from experiments.common import run_lock

# What a run writes under its lock before run.flags, the file with which it begins.
_FIRST = {"run.json", "environment.json", "vocabulary.json", "pictures.json", "init.json"}
_UNFINISHED = re.compile(r".+\.\d+\.unfinished")
_ASIDE = "replaced"


def never_began(folder: Path, kept: Collection[str] = ()) -> bool:
    """True for a folder that holds what a run leaves that was killed before it began, or nothing.

    Args:
      kept: names of further files that a run writes first, those of its attentions.
    """
    if not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir() if not _UNFINISHED.fullmatch(path.name)}
    is_ours = run_lock.NAME in names and names <= {run_lock.NAME, *_FIRST, *kept}
    return (is_ours or not names) and all(path.is_file() for path in folder.iterdir())


def clear(folder: Path) -> None:
    """Deletes what a run wrote that did not begin, but for its lock and files of attentions."""
    for path in folder.iterdir():
        if path.name in _FIRST or _UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def set_aside(folder: Path, *, where: bool) -> Generator[Callable[[], None], None, None]:
    """Gives a folder another name until it is discarded; unless that happens it comes back."""
    aside = folder.with_name(f"{folder.name}.{_ASIDE}-{os.getpid()}")
    if not where or not folder.exists():
        yield lambda: None
        return
    folder.rename(aside)
    try:
        yield lambda: shutil.rmtree(aside)
    finally:
        if aside.exists():
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)


def of_killed(folder: Path) -> Iterator[Path]:
    """Old runs that processes, killed since, had put aside to begin a folder anew."""
    found = folder.parent.glob(f"{glob.escape(folder.name)}.{_ASIDE}-*")
    return (path for path in sorted(found) if path.is_dir() and not run_lock.is_held(path))


def put_back(folder: Path) -> None:
    """Gives an old run its name back where the one that was to replace it never began."""
    if (folder / "run.flags").exists():
        return
    for aside in of_killed(folder):
        if folder.exists():
            if not never_began(folder) or run_lock.is_held(folder):
                return
            shutil.rmtree(folder)
        aside.rename(folder)
        return _say(
            f"an --overwrite was killed before its run began; {folder} is the old run again"
        )


def where_is_the_old(folder: Path) -> str:
    """A sentence that names an old run that was put aside, "" where there is none."""
    aside = next(of_killed(folder), None)
    return (
        f" {aside} is the old run, which a killed --overwrite put aside; rename it."
        if aside
        else ""
    )


def drop(folder: Path) -> None:
    """Deletes old runs whose place another has taken, where a kill came in between."""
    for aside in of_killed(folder):
        shutil.rmtree(aside)
        _say(f"{aside}, which an --overwrite that was killed had left, is deleted")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
