"""The undisturbed runs with which all trials compare, and how a trial may end."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from scripts._torture import tiny
from scripts._torture.children import Child, Outcome, Plan
from scripts._torture.tiny import Ended

TRAINED = ("language", "memory")  # what is trained again and again
BAD = ("lost", "silent", "traceback")


class Verdict(NamedTuple):
    """How a trial ended: "same", "refused" in one line, "fell back" with a word, or one of BAD."""

    verdict: str
    what: str
    detail: str = ""


class World:
    """The undisturbed runs, which every trial compares with; each is trained where it is asked for.

    Args:
      folder: of everything.
    """

    def __init__(self, folder: Path):
        self.folder, self.data = folder, folder / "data"
        self.scratch, self.run = folder / "scratch", folder / "run"
        tiny.write_data(self.data)
        self._wanted: dict[str, Any] = {}

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """A value that is made once."""
        if name not in self._wanted:
            self._wanted[name] = make()
        return self._wanted[name]

    def arguments(self, name: str) -> list[str]:
        return tiny.arguments(name, self.data, self.run)

    def fresh(self) -> Path:
        """The folder of the trial's run, which is not there."""
        shutil.rmtree(self.run, ignore_errors=True)
        for left in self.folder.glob("run.*"):
            shutil.rmtree(left, ignore_errors=True)
        return self.run

    def copy(self, of: Path) -> Path:
        """A copy of a run, as the trial's."""
        shutil.copytree(of, self.fresh())
        return self.run

    def child(self, name: str, plan: Plan, *more: str) -> Child:
        return Child(name, [*self.arguments(name), *more], self.run, plan, self.scratch)

    def finished(self, name: str) -> Path:
        """An undisturbed run, made by a process of its own, and the changes that it makes."""

        def make() -> Path:
            self.fresh()
            kept = self.folder / f"whole_{name}"
            kept.mkdir()
            found = self.child(name, Plan(log=str(kept / "changes.txt"))).wait(900)
            if found.code:
                raise RuntimeError(f"{name} does not train at all: {found.errors}")
            self.run.rename(kept / "run")
            return kept / "run"

        return self.once(f"run {name}", make)

    def changes(self, name: str) -> list[str]:
        """The changes of the folder that an undisturbed run makes, in order."""
        return (self.finished(name).parent / "changes.txt").read_text().splitlines()

    def half(self, name: str) -> Path:
        """A run that was killed while it saved its third checkpoint."""

        def make() -> Path:
            self.finished(name)
            at = next(i for i, x in enumerate(self.changes(name), 1) if "step_000000006" in x)
            self.fresh()
            self.child(name, Plan(at)).wait()
            kept = self.folder / f"half_{name}"
            self.run.rename(kept)
            return kept

        return self.once(f"half {name}", make)

    def wanted(self, name: str, what: str) -> Any:
        """What an undisturbed run gives."""

        def make() -> Any:
            folder = self.copy(self.finished(name))
            found = self.read(name, what, folder)
            if found.error:
                raise RuntimeError(f"{name} cannot be read at all: {found.error}")
            return found.value

        return self.once(f"{what} {name}", make)

    def read(self, name: str, what: str, folder: Path) -> Ended:
        """A run as something reads it."""
        if what == "load":
            return tiny.loaded(folder)
        if what == "results":
            return tiny.ended(lambda: tiny.results(folder))
        if what == "predict":
            return tiny.predicted(name, folder, self.data)
        return tiny.visualized(name, folder, self.data)


def goes_on(world: World, name: str) -> Verdict | None:
    """None where a disturbed run, which may not have begun, ends as an undisturbed one."""
    begun = (world.run / "run.flags").exists()
    got = tiny.trained(name, world.arguments(name), *(["--resume"] if begun else []))
    if got.error:
        return Verdict("traceback" if got.is_traceback else "lost", "going on", got.error)
    differ = tiny.difference(tiny.results(world.run), world.wanted(name, "results"))
    return Verdict("lost", "going on", f"differs: {differ}; said: {got.said}") if differ else None


def unexpected(what: str, found: Outcome) -> Verdict:
    return Verdict("traceback", what, f"code {found.code}: {found.errors[-3000:]}")
