"""Progress of a comparison that is running: one line of how long it will take and its waits.

The line is printed first, again as soon as anything tells how long runs take, and stands at the top
of report.html until the report itself takes its place. All is read from the files of runs, so it
says the same wherever they are.
"""

import contextlib
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple

from attention_jax.analysis import pages
from attention_jax.core.files import write_whole
from experiments.common.scoring import read_json
from experiments.compare.runs import Run, rows

_SECONDS = 5.0  # between two looks


class State(NamedTuple):
    """How far a run has come.

    Attributes:
      run: which.
      steps: that it is to take.
      step: that it has logged last.
      seconds: that it took so far, or in all; None where it has not begun.
      is_done: it is trained and scored.
      works: it has begun in this call, and is not done.
    """

    run: Run
    steps: int
    step: int
    seconds: float | None
    is_done: bool
    works: bool


class Watch:
    """The progress of the runs of a comparison.

    Args:
      folder: of the comparison.
      steps: that each candidate's runs take.
      count: runs in all, those of seeds that are not chosen yet too.
    """

    def __init__(self, folder: Path, steps: dict[str, int], count: int):
        self._folder, self._steps, self._count = folder, steps, count
        self._start, self._is_known = time.time(), False

    def line(self, runs: Sequence[Run]) -> str:
        """How long the rest will take, and what it waits for."""
        states = [self._state(run) for run in runs]
        return line(states, self._count)

    @contextlib.contextmanager
    def during(self, runs: Sequence[Run]) -> Generator[None, None, None]:
        """Keeps the page, and says how long all will take as soon as that is known."""
        end = threading.Event()

        def look() -> None:
            while True:
                with contextlib.suppress(OSError, ValueError):  # of a file that is being written
                    self._look(runs)
                if end.wait(_SECONDS):
                    return

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        try:
            yield
        finally:
            end.set()
            looking.join()

    def _look(self, runs: Sequence[Run]) -> None:
        states = [self._state(run) for run in runs]
        text = line(states, self._count)
        if not self._is_known and seconds_left(states, self._count) is not None:
            self._is_known = True
            print(text, flush=True)
        page = pages.render(
            Path(__file__).with_name("running.html"),
            title=f"Running: {self._folder.name}",
            line=text,
            rows=[_row(state) for state in states],
            more=self._count - len(states),
        )
        write_whole(self._folder / "report.html", page + "\n")

    def _state(self, run: Run) -> State:
        steps, result = self._steps[run.candidate], run.folder / "result.json"
        if result.exists():
            took = read_json(result)
            seconds = took.get("seconds", 0.0) + (took.get("first_step_seconds") or 0.0)
            return State(run, steps, steps, seconds, True, False)
        began = run.log.stat().st_mtime if run.log.exists() else 0.0
        lock = run.log.with_suffix(".lock")
        works = lock.exists() and max(began, lock.stat().st_mtime) >= self._start
        step = max((row["step"] for row in rows(run)), default=0)
        spent = time.time() - lock.stat().st_mtime if works else None
        return State(run, steps, step, spent, False, works)


def seconds_left(states: Sequence[State], count: int) -> float | None:
    """About how long the rest takes; None while nothing tells how long a run does.

    A run takes as long as others of its candidate, or as its own steps so far say; one of a
    candidate of which nothing is known, the mean of the others.
    """
    own: dict[str, list[float]] = {}
    for state in states:
        if state.seconds and state.step:
            whole = state.seconds * state.steps / state.step
            own.setdefault(state.run.candidate, []).append(whole)
    if not own:
        return None
    of = {name: sum(x) / len(x) for name, x in own.items()}
    mean = sum(of.values()) / len(of)
    left = sum(
        max(0.0, of.get(s.run.candidate, mean) - (s.seconds or 0.0))
        for s in states
        if not s.is_done
    )
    at_once = max(1, sum(state.works for state in states))
    return (left + mean * max(0, count - len(states))) / at_once


def line(states: Sequence[State], count: int) -> str:
    """The line at the top."""
    done = sum(state.is_done for state in states)
    left, working = seconds_left(states, count), [state for state in states if state.works]
    if done == count:
        return f"{count} of {count} runs are done."
    known = "not known before the first steps" if left is None else f"about {_told(left)}"
    waits = ", ".join(f"{x.run.name} (step {x.step:,} of {x.steps:,})" for x in working)
    waits = waits or next((x.run.name for x in states if not x.is_done), "the other seeds")
    return f"{done} of {count} runs are done; left: {known}; waiting for {waits}"


def _told(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _row(state: State) -> tuple[str, str]:
    if state.is_done:
        return state.run.name, f"done, {state.seconds:.0f} s of training"
    if state.works:
        return state.run.name, f"step {state.step:,} of {state.steps:,}"
    return state.run.name, "waits"
