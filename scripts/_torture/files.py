"""Files that are damaged, data that change, disks that are full."""

import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

from experiments.common import run_lock
from scripts._torture import damage, tiny
from scripts._torture.children import Child, Outcome, Plan
from scripts._torture.tiny import Ended
from scripts._torture.world import TRAINED, Verdict, World, goes_on, unexpected

READ = ("language", "memory", "translation", "images", "speech")


def damaged_read(world: World, draw: random.Random) -> Verdict:
    """A file of a finished run is damaged, and the run is loaded, predicts or is drawn."""
    name = draw.choice(READ)
    able = ["load"] * 8
    able += ["predict"] * (2 if name in ("language", "images", "speech") else 0)
    able += ["visualize"] if name == "images" else []
    return _damaged(world, draw, name, draw.choice(able))


def _damaged(world: World, draw: random.Random, name: str, reads: str) -> Verdict:
    wanted = world.wanted(name, reads)
    folder = world.copy(world.finished(name))
    # Files beside the checkpoints are few, but read first.
    files = damage.files(folder)
    small = [path for path in files if path.parent == folder]
    path, how = draw.choice(draw.choice((files, small))), draw.choice(damage.KINDS)
    damage.do(how, path, draw)
    what = f"{name}, {how} {path.relative_to(folder)}, {reads}"
    return _judged(what, world.read(name, reads, folder), wanted)


def damaged_resume(world: World, draw: random.Random) -> Verdict:
    """A file of a run that was killed is damaged, and the run goes on."""
    name = draw.choice(TRAINED)
    wanted = world.wanted(name, "results")
    folder = world.copy(world.half(name) if draw.random() < 0.7 else world.finished(name))
    path, how = draw.choice(damage.files(folder)), draw.choice(damage.KINDS)
    damage.do(how, path, draw)
    what = f"{name}, {how} {path.relative_to(folder)}, resume"
    got = tiny.trained(name, world.arguments(name), "--resume")
    if got.error:
        return _judged(what, got, wanted)
    found = tiny.ended(lambda: tiny.results(folder))
    return _judged(what, found._replace(said=got.said + found.said), wanted)


def _judged(what: str, got: Ended, wanted: Any) -> Verdict:
    if got.is_traceback:
        return Verdict("traceback", what, got.error or got.said)
    if got.error:
        return Verdict("refused", what, got.error)
    if got.value == wanted:
        return Verdict("same", what)
    differ = tiny.difference(got.value, wanted) if isinstance(wanted, dict) else "the answer"
    return Verdict("fell back" if got.said else "silent", what, f"differs: {differ}; {got.said}")


def disk(world: World, draw: random.Random) -> Verdict:
    """The disk is too small: one line; then it is large enough, and the run goes on."""
    name = draw.choice(TRAINED)
    world.wanted(name, "results")
    kept, mounted = world.fresh(), mount(world.run.parent / "disk")
    if not mounted:
        size = draw.choice((64, 500, 2000, 4000, 6000, 9000, 14000, 20000))
        what = f"{name}, files of at most {size} bytes"
        found = world.child(name, Plan(file_size=size)).wait()
        return _after_full(world, name, what, found)
    size = 4 * draw.randint(2, 140)  # KiB, of which each file and folder takes 4
    what = f"{name}, disk of {size} KiB"
    try:
        subprocess.run(["mount", "-o", f"remount,size={size}k", mounted], check=True)
        own = Path(mounted) / "run"
        kept.symlink_to(own)
        given = [x for x in world.arguments(name) if not x.startswith("--run=")]
        child = Child(name, [*given, f"--run={own}"], own, Plan(), world.scratch)
        found = child.wait()
        subprocess.run(["mount", "-o", "remount,size=64m", mounted], check=True)
        kept.unlink()
        if own.exists():
            shutil.copytree(own, kept)
    finally:
        kept.unlink() if kept.is_symlink() else None
        subprocess.run(["umount", mounted], check=False)
    return _after_full(world, name, what, found)


def _after_full(world: World, name: str, what: str, found: Outcome) -> Verdict:
    lines = [line for line in found.errors.splitlines() if line.startswith("error: ")]
    if found.is_traceback or (found.code and len(lines) != 1):
        return unexpected(what, found)
    if world.run.is_dir() and not any(world.run.iterdir()):
        world.run.rmdir()
    return goes_on(world, name) or Verdict("same", what, lines[0] if lines else "")


def mount(folder: Path) -> str:
    """A small disk in memory; "" where this process may not mount one."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "torture", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        return ""
    return "" if done.returncode else str(folder)


def changed_data(world: World, draw: random.Random) -> Verdict:
    """The data change between a kill and going on, which is refused by name."""
    name = draw.choice(("language", "translation", "images", "speech"))
    folder = world.copy(world.half(name) if name == "language" else world.finished(name))
    before = _without_lock(folder)
    kept = _contents(world.data)
    pattern, changes = _SOURCES[name]
    path, how = draw.choice(sorted(world.data.glob(pattern))), draw.choice(changes)
    try:
        _change(path, how, kept, draw)
        got = tiny.trained(name, world.arguments(name), "--resume")
    finally:
        for left in _contents(world.data).keys() - kept.keys():
            left.unlink()
        for at, old in kept.items():
            at.write_bytes(old)
    what = f"{name}, {path.name} {how}"
    if _without_lock(folder) != before:
        return Verdict("silent", what, f"the folder was changed; {got.error}")
    if got.is_traceback or not got.error:
        return Verdict("traceback" if got.error else "silent", what, got.error)
    return Verdict("refused", what, got.error)


_CHANGES = ("letter", "cut", "more", "gone", "another case")
_SOURCES = {
    "language": ("text.txt", _CHANGES),
    "translation": ("pairs.tsv", _CHANGES),
    "images": ("pictures/*/*.png", ("gone", "another", "renamed")),
    "speech": ("sounds/*.*", ("letter", "gone", "another")),
}


def _change(path: Path, how: str, kept: dict[Path, bytes], draw: random.Random) -> None:
    content = bytearray(kept[path])
    if how in ("gone", "renamed"):
        if how == "gone":
            return path.unlink()
        # Where it stands among the others decides, so the last becomes the first.
        is_last = path == max(path.parent.iterdir())
        path.rename(path.with_name("!.png" if is_last else "z.png"))
        return
    if how == "letter":
        place = draw.choice([i for i, x in enumerate(content) if chr(x).isalpha()])
        content[place] = ord("z") if content[place] != ord("z") else ord("y")
    elif how == "cut":
        content = content[: content.rindex(b"\n", 0, len(content) - 2) + 1]
    elif how == "more":
        content += content[: content.index(b"\n") + 1].replace(b"o", b"e")
    elif how == "another case":
        content = content.swapcase()
    else:
        others = [p for p in kept if p.suffix == path.suffix and kept[p] != kept[path]]
        content = bytearray(kept[draw.choice(others)])
    path.write_bytes(content)


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _without_lock(folder: Path) -> dict[Path, bytes]:
    """The files of a run, without the lock that a killed process leaves: the next takes it over."""
    return {path: x for path, x in _contents(folder).items() if path.name != run_lock.NAME}
