"""Memory that stays: what a process that trains holds after thousands of steps.

    python -P -m experiments.benchmark.resident --output=resident.json --picture=resident.png

Two processes train the same language model on the same windows of random tokens, one of which
keeps freed memory (`attention_jax.keep_memory`). They take turns, --every steps each, so that a
machine that slows down slows both. Windows have four lengths in turn, whose programs need memory of
different sizes. Printed are the resident memory at the end of turns, the most there ever was, and
the median step of each turn; the ratio of times is taken turn by turn, above 1 where keeping memory
is faster.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Annotated, Any, NamedTuple

from matplotlib.figure import Figure

from attention_jax.analysis.plots import style
from experiments.benchmark import rows
from experiments.benchmark.resident_training import SIZES
from experiments.benchmark.rows import OURS, Row
from experiments.common import flags
from experiments.common.config import DeviceFlags
from experiments.common.flags import Flag
from experiments.common.timing import Ratio

GIVEN_BACK = "given_back"
SIDES = (OURS, GIVEN_BACK)
NAMES = {OURS: "kept", GIVEN_BACK: "given back"}
Facts = dict[str, Any]


class ResidentBenchmark(NamedTuple):
    """A measurement of what stays.

    Attributes:
      sizes: of the model: some of small, medium and large.
      steps: of each process, in all.
      every: steps of one process before the other's turn.
      output: JSON file of the results.
      picture: file of a figure; its suffix names the format.
    """

    sizes: Annotated[tuple[str, ...], Flag(listed=True)] = tuple(SIZES)
    steps: Annotated[int, Flag(low=2)] = 5000
    every: Annotated[int, Flag(low=1)] = 250
    output: str | None = None
    picture: str | None = None


def main() -> None:
    """Measures size after size, prints each, and writes all there are."""
    config = flags.config_from_flags(ResidentBenchmark())
    if not config.sizes or not set(config.sizes) <= set(SIZES):
        raise ValueError(
            f"`--sizes` must be some of {', '.join(SIZES)}; got {','.join(config.sizes)}."
        )
    results = rows.start("resident")
    for size in config.sizes:
        found = measure(size, steps=config.steps, every=config.every)
        results = rows.added(results, *found)
        print(f"{size}: {json.dumps(summary(results.rows)[size])}", flush=True)
        rows.write(results, config.output)
        if config.picture:
            plot(results.rows, config.picture)
    rows.write(rows.finished(results), config.output)


def measure(size: str, *, steps: int, every: int) -> Iterator[Row]:
    """The rows of one size, turn by turn."""
    with ExitStack() as stack:
        processes = {side: stack.enter_context(_process(size, side)) for side in SIDES}
        for turn, step in enumerate(range(every, steps + 1, every)):
            # Who begins changes from turn to turn.
            order = SIDES[:: -1 if turn % 2 else 1]
            yield as_row(size, step, {side: _turn(processes[side], every) for side in order})


def as_row(size: str, step: int, answers: dict[str, Facts]) -> Row:
    """One turn of both, ended after `step` steps each; its facts hold the memory of each side."""
    own = {side: 1e3 * answers[side]["step_seconds"] for side in SIDES}
    ratio = own[GIVEN_BACK] / own[OURS]
    return Row(
        suite="resident",
        case={"size": size, "step": step},
        ours_ms=own[OURS],
        peer_ms={GIVEN_BACK: own[GIVEN_BACK]},
        ratio={GIVEN_BACK: Ratio(ratio, ratio, ratio)},
        faults=answers[OURS]["faults_a_step"],
        repeats=1,
        facts={side: answers[side] for side in SIDES},
    )


def _process(size: str, side: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-m", "experiments.benchmark.resident_training", size]
    keep = ["--keep"] if side == OURS else []
    pipe = subprocess.PIPE
    return subprocess.Popen([*command, *keep], stdin=pipe, stdout=pipe, text=True)


def _turn(process: "subprocess.Popen[str]", steps: int) -> Facts:
    assert process.stdin and process.stdout
    print(steps, file=process.stdin, flush=True)
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"a process that trains ended, with {process.wait()}")
    return json.loads(answer)


def summary(measured: Iterable[Row]) -> dict[str, Any]:
    """By size: memory and step time of each side, without the first turn, which compiles."""
    measured, found = list(measured), {}
    for size in dict.fromkeys(row.case["size"] for row in measured):
        own = [row for row in measured if row.case["size"] == size]
        later = own[1:] or own
        found[size] = {NAMES[side]: _of_side([row.facts[side] for row in later]) for side in SIDES}
        ratios = [row.ratio[GIVEN_BACK].median for row in later]
        found[size]["ratio"] = [statistics.median(ratios), min(ratios), max(ratios)]
    return found


def _of_side(turns: list[Facts]) -> dict[str, Any]:
    return {
        "resident_bytes": [turns[0]["resident_bytes"], turns[-1]["resident_bytes"]],
        "peak_bytes": turns[-1]["peak_bytes"],
        "step_seconds": statistics.median(turn["step_seconds"] for turn in turns),
        "faults_a_step": statistics.median(turn["faults_a_step"] for turn in turns),
    }


def plot(measured: Iterable[Row], path: str | None = None) -> Figure:
    """Draws resident memory against steps, a panel for each size.

    Args:
      measured: all rows.
      path: the file to write; its suffix names the format.
    """
    measured = list(measured)
    sizes = list(dict.fromkeys(row.case["size"] for row in measured))
    figure, panels = style.figure(1, len(sizes), size=(4.2 * len(sizes), 3.2))
    for axes, size in zip(panels[0], sizes, strict=True):
        for color, marker, side in zip(style.COLORS, style.MARKERS, SIDES, strict=False):
            own = [row for row in measured if row.case["size"] == size]
            axes.plot(
                [row.case["step"] for row in own],
                [row.facts[side]["resident_bytes"] / 2**20 for row in own],
                color=color,
                marker=marker,
                markersize=3,
                label=NAMES[side],
            )
        axes.set_ylim(bottom=0)
        axes.set_xlabel("steps")
        style.panel(axes, f"{size}: resident memory, MiB")
    style.legend(panels[0, 0])
    return style.saved(figure, path)


if __name__ == "__main__":
    flags.launch(main, ResidentBenchmark(), DeviceFlags())
