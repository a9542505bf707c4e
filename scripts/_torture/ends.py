"""Processes that end before their work: killed, told to stop, or met by another."""

import os
import random
import signal
import time
from pathlib import Path

from scripts._torture import tiny
from scripts._torture.children import Child, Plan
from scripts._torture.world import TRAINED, Verdict, World, goes_on, unexpected

STOPS = {
    "TERM": (signal.SIGTERM,),
    "HUP": (signal.SIGHUP,),
    "INT": (signal.SIGINT,),
    "USR1": (signal.SIGUSR1,),
    "INT INT": (signal.SIGINT, signal.SIGINT),
    "USR1 TERM": (signal.SIGUSR1, signal.SIGTERM),
}
_DONE = (0, -signal.SIGKILL, -signal.SIGALRM)


def kill(world: World, draw: random.Random) -> Verdict:
    """A process is killed once or twice, and goes on."""
    name = draw.choice(TRAINED)
    count, world_run = len(world.changes(name)), world.fresh()
    what = name
    for _ in range(draw.choice((1, 1, 1, 2))):
        plan = Plan(draw.randint(1, count), delay=draw.choice((0.0, draw.uniform(1e-4, 0.06))))
        what += f" at change {plan.at} + {plan.delay:.3f} s"
        more = ["--resume"] if (world_run / "run.flags").exists() else []
        found = world.child(name, plan, *more).wait()
        if found.code not in _DONE:
            return unexpected(what, found)
    return goes_on(world, name) or Verdict("same", what)


def anew(world: World, draw: random.Random) -> Verdict:
    """A process that begins a run anew is killed: the old run stands there, or the new."""
    name, new = "memory", ("--overwrite", "--seed=1")
    kept = world.wanted(name, "results")
    wanted = world.once("memory anew", lambda: _anew(world, name))
    folder = world.copy(world.finished(name))
    plan = Plan(draw.randint(1, 20), delay=draw.choice((0.0, draw.uniform(1e-4, 0.02))))
    what = f"--overwrite killed at change {plan.at} + {plan.delay:.3f} s"
    found = world.child(name, plan, *new).wait()
    if found.code not in _DONE:
        return unexpected(what, found)
    flags = folder / "run.flags"
    has_begun = flags.exists() and "--seed=1\n" in flags.read_text()
    if not has_begun:
        aside = sorted(world.folder.glob("run.replaced-*"))
        stands = tiny.results(folder if flags.exists() or not aside else aside[0])
        if differ := tiny.difference(stands, kept):
            return Verdict("lost", what, f"the old run differs: {differ}")
    got = tiny.trained(name, world.arguments(name), "--seed=1", "--resume" if has_begun else new[0])
    if got.error:
        return Verdict("traceback" if got.is_traceback else "lost", what, got.error)
    if left := list(world.folder.glob("run.replaced-*")):
        return Verdict("silent", what, f"{left[0]} is left; {got.said}")
    differ = tiny.difference(tiny.results(folder), wanted)
    return (
        Verdict("lost", what, f"the new run differs: {differ}") if differ else Verdict("same", what)
    )


def _anew(world: World, name: str) -> dict[str, str]:
    """The results of the run that begins anew."""
    world.fresh()
    found = tiny.trained(name, world.arguments(name), "--seed=1")
    if found.error:
        raise RuntimeError(f"{name} does not train at all: {found.error}")
    return tiny.results(world.run)


def signals(world: World, draw: random.Random) -> Verdict:
    """A process is told to stop or to save, and the run goes on."""
    name, sent = draw.choice(TRAINED), draw.choice(sorted(STOPS))
    world.finished(name)
    world.fresh()
    plan = Plan(draw.randint(1, len(world.changes(name))), STOPS[sent])
    what = f"{name}, {sent} at change {plan.at}"
    found = world.child(name, plan).wait()
    first = STOPS[sent][-1] if sent == "USR1 TERM" else STOPS[sent][0]
    if found.is_traceback or found.code not in (0, 128 + first, -first):
        return unexpected(what, found)
    return goes_on(world, name) or Verdict("same", what)


def two(world: World, draw: random.Random) -> Verdict:
    """Two processes of one run: one trains it, the other is told so."""
    name = draw.choice(TRAINED)
    world.wanted(name, "results")
    if draw.random() < 0.5:
        return _held(world, name, draw)
    folder = world.fresh()
    more: list[str] = []
    if draw.random() < 0.5:
        world.copy(world.half(name))
        more = ["--resume"]
    given = [*world.arguments(name), *more]
    both = [Child(name, given, folder, Plan(), world.folder / f"scratch_{i}") for i in (0, 1)]
    found = [child.wait() for child in both]
    what = f"{name}, two at once {' '.join(more)}"
    codes = sorted(one.code for one in found)
    if any(one.is_traceback for one in found) or codes not in ([0, 0], [0, 1]):
        return Verdict("traceback", what, " | ".join(one.errors[-1500:] for one in found))
    differ = tiny.difference(tiny.results(folder), world.wanted(name, "results"))
    return Verdict("lost", what, differ) if differ else Verdict("same", what, str(codes))


def _held(world: World, name: str, draw: random.Random) -> Verdict:
    """One process stands still while another calls; it is continued, or killed."""
    changes = world.changes(name)
    begun = next(i for i, x in enumerate(changes, 1) if "environment.json" in x)
    last = next(i for i, x in enumerate(changes, 1) if "result.json" in x)
    world.fresh()
    plan = Plan(draw.randint(begun + 2, last), (signal.SIGSTOP,))
    child = world.child(name, plan)
    what = f"{name}, held at change {plan.at}"
    pid = child.process.pid
    assert pid is not None
    if not _stopped(pid):
        return Verdict("traceback", what, "the process did not come to its change")
    for more in ("--resume", "--overwrite"):
        got = tiny.trained(name, world.arguments(name), more)
        if got.is_traceback or "one process at a time" not in got.error:
            os.kill(pid, signal.SIGKILL)
            return Verdict("traceback" if got.is_traceback else "lost", what, got.error or "taken")
    os.kill(pid, draw.choice((signal.SIGCONT, signal.SIGKILL)))
    found = child.wait()
    if found.code not in (0, -signal.SIGKILL):
        return unexpected(what, found)
    return goes_on(world, name) or Verdict("same", what)


def _stopped(pid: int, seconds: float = 120.0) -> bool:
    """True once a process stands still."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "T":
            return True
        time.sleep(0.02)
    return False
