"""Damage to one file of a folder."""

import random
import shutil
from pathlib import Path

KINDS = ("truncate", "flip", "empty", "delete", "folder", "zeros", "swap")


def files(folder: Path) -> list[Path]:
    """The files of a folder, and the folders of its checkpoints, in order."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != "run.lock"]
    return sorted([*found, *folder.glob("*/step_*")])


def do(kind: str, path: Path, draw: random.Random) -> None:
    """Damages a file; a folder is emptied or deleted."""
    if path.is_dir():
        shutil.rmtree(path)
        if kind != "delete":
            path.mkdir()
        return
    content = bytearray(path.read_bytes())
    size = len(content)
    if kind in ("delete", "folder"):
        path.unlink()
        if kind == "folder":
            path.mkdir()
        return
    if kind == "empty" or not size:
        content = bytearray(b"" if size else b"\0")
    elif kind == "truncate":
        content = content[: draw.randrange(size)]
    elif kind == "flip":
        content[draw.randrange(size)] ^= 1 << draw.randrange(8)
    elif kind == "zeros":
        start = draw.randrange(size)
        length = min(size - start, draw.randint(1, 64))
        content[start : start + length] = bytes(length)
    else:
        here, there = draw.randrange(size), draw.randrange(size)
        content[here], content[there] = content[there], content[here]
    path.write_bytes(content)
