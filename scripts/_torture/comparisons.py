"""Comparisons whose workers, here or on Ray, or whose launcher are killed or told to stop."""

import contextlib
import importlib.util
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

from attention_jax.core.files import content_hash
from scripts._torture import tiny
from scripts._torture.children import Child, Plan
from scripts._torture.world import Verdict, World, unexpected

# On Ray only workers are killed: its own processes would outlive the launcher for some time.
DISTURBED = {
    "local": ("worker", "launcher", "both", "TERM"),
    "ray": ("worker", "worker's parent"),
}
_CALLS = 4  # after which a comparison must have ended


def compared(world: World, draw: random.Random) -> Verdict:
    """A comparison is disturbed; the same command, repeated, ends as an undisturbed one."""
    has_ray = importlib.util.find_spec("ray") is not None
    launcher = draw.choice(("local", "local", "ray") if has_ray else ("local",))
    who, pause = draw.choice(DISTURBED[launcher]), draw.uniform(0.0, 3.0)
    wanted = world.once("comparison", lambda: _undisturbed(world))
    folder = _fresh(world)
    what = f"{launcher}, {who} {pause:.2f} s after a run began"
    child = _child(world, launcher)
    if not (worker := _worker(folder, child)):
        return unexpected(f"{what}: no run began", child.wait())
    time.sleep(pause)
    _disturb(who, worker, child)
    for _ in range(_CALLS):
        found = child.wait()
        if found.is_traceback or found.code not in (0, 1, 128 + signal.SIGTERM, -signal.SIGKILL):
            return unexpected(what, found)
        if found.code == 0:
            break
        child = _child(world, launcher)
    else:
        child.wait()
        return Verdict("lost", what, f"{_CALLS} calls did not end it: {found.errors[-1500:]}")
    differ = tiny.difference(_results(folder), wanted)
    return Verdict("lost", what, f"differs: {differ}") if differ else Verdict("same", what)


def _undisturbed(world: World) -> dict[str, str]:
    folder = _fresh(world)
    found = _child(world, "local").wait(900)
    if found.code:
        raise RuntimeError(f"a comparison does not run at all: {found.errors}")
    return _results(folder)


def _fresh(world: World) -> Path:
    folder = world.folder / "compared"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _child(world: World, launcher: str) -> Child:
    folder = world.folder / "compared"
    given = [
        *("--experiment=memory", "--models=gru:none,lstm:none", "--seeds=1", "--match=steps"),
        *(f"--launcher={launcher}", f"--folder={folder}"),
        *(x for x in tiny.FLAGS["memory"].split() if not x.startswith(("--model", "--attention"))),
        *tiny.EVERY_TWO.split(),
    ]
    return Child("compare", given, folder, Plan(), world.scratch)


def _worker(folder: Path, child: Child, seconds: float = 240.0) -> int:
    """The process that trains a run, once one does; 0 where none comes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and child.process.is_alive():
        for lock in folder.glob("runs/**/run.lock"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                return int(json.loads(lock.read_text())["process"])
        time.sleep(0.02)
    return 0


def _disturb(who: str, worker: int, child: Child) -> None:
    launcher = child.process.pid
    assert launcher is not None
    with contextlib.suppress(ProcessLookupError, OSError):
        if who in ("worker", "both"):
            os.kill(worker, signal.SIGKILL)
        if who == "worker's parent":
            fields = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
            os.kill(int(fields[1]), signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        if who in ("launcher", "both"):
            os.kill(launcher, signal.SIGKILL)
        if who == "TERM":
            os.kill(launcher, signal.SIGTERM)


def _results(folder: Path) -> dict[str, str]:
    """What must be the same of a comparison: all of each run, and the scores of the report."""
    found = {}
    for path in sorted(folder.glob("runs/**/result.json")):
        own = tiny.results(path.parent)
        found |= {f"{path.parent.relative_to(folder)} {name}": x for name, x in own.items()}
    report = json.loads((folder / "report.json").read_text())
    found["report"] = content_hash(json.dumps(report["tests"], sort_keys=True))
    return found
