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
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Annotated, Any, NamedTuple

from attention_jax.analysis.plots import style
from attention_jax.core.files import write_whole
from experiments.benchmark.resident_training import SIZES
from experiments.common import flags, run_folder
from experiments.common.config import DeviceFlags
from experiments.common.flags import Flag

SIDES = ("kept", "given back")
Row = dict[str, Any]


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
    rows: list[Row] = []
    for size in config.sizes:
        rows += measure(size, steps=config.steps, every=config.every)
        print(f"{size}: {json.dumps(summary(rows)[size])}", flush=True)
        if config.output:
            found = {"environment": run_folder.environment(), "suite": "resident"}
            text = json.dumps(found | {"summary": summary(rows), "rows": rows}, indent=2)
            write_whole(config.output, text + "\n")
        if config.picture:
            plot(rows, config.picture)


def measure(size: str, *, steps: int, every: int) -> Iterator[Row]:
    """The rows of one size, turn by turn."""
    with ExitStack() as stack:
        processes = {side: stack.enter_context(_process(size, side)) for side in SIDES}
        for turn, step in enumerate(range(every, steps + 1, every)):
            # Who begins changes from turn to turn.
            for side in SIDES[:: -1 if turn % 2 else 1]:
                answer = _turn(processes[side], every)
                yield {"size": size, "side": side, "step": step, **answer}


def _process(size: str, side: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-m", "experiments.benchmark.resident_training", size]
    keep = ["--keep"] if side == SIDES[0] else []
    pipe = subprocess.PIPE
    return subprocess.Popen([*command, *keep], stdin=pipe, stdout=pipe, text=True)


def _turn(process: "subprocess.Popen[str]", steps: int) -> Row:
    assert process.stdin and process.stdout
    print(steps, file=process.stdin, flush=True)
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"a process that trains ended, with {process.wait()}")
    return json.loads(answer)


def summary(rows: list[Row]) -> dict[str, Any]:
    """By size: memory and step time of each side, without the first turn, which compiles."""
    found: dict[str, Any] = {}
    for size in dict.fromkeys(row["size"] for row in rows):
        own = {side: _later(rows, size, side) for side in SIDES}
        for side, later in own.items():
            resident = [row["resident_bytes"] for row in later]
            found.setdefault(size, {})[side] = {
                "resident_bytes": [resident[0], resident[-1]],
                "peak_bytes": later[-1]["peak_bytes"],
                "step_seconds": statistics.median(row["step_seconds"] for row in later),
                "faults_a_step": statistics.median(row["faults_a_step"] for row in later),
            }
        ratios = [
            there["step_seconds"] / here["step_seconds"]
            for here, there in zip(*own.values(), strict=True)
        ]
        found[size]["ratio"] = [statistics.median(ratios), min(ratios), max(ratios)]
    return found


def _later(rows: list[Row], size: str, side: str) -> list[Row]:
    own = [row for row in rows if (row["size"], row["side"]) == (size, side)]
    return own[1:] or own


def plot(rows: list[Row], path: str) -> None:
    """Draws resident memory against steps, a panel for each size.

    Args:
      rows: all that were measured.
      path: the file to write; its suffix names the format.
    """
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    figure, panels = style.figure(1, len(sizes), size=(4.2 * len(sizes), 3.2))
    for axes, size in zip(panels[0], sizes, strict=True):
        for color, marker, side in zip(style.COLORS, style.MARKERS, SIDES, strict=False):
            own = [row for row in rows if (row["size"], row["side"]) == (size, side)]
            axes.plot(
                [row["step"] for row in own],
                [row["resident_bytes"] / 2**20 for row in own],
                color=color,
                marker=marker,
                markersize=3,
                label=side,
            )
        axes.set_ylim(bottom=0)
        axes.set_xlabel("steps")
        style.panel(axes, f"{size}: resident memory, MiB")
    style.legend(panels[0, 0])
    style.save(figure, path)


if __name__ == "__main__":
    flags.launch(main, ResidentBenchmark(), DeviceFlags())
