"""Draws the curves of several runs of experiments.memory into one figure, and prints their table.

    python -m experiments.memory.draw --runs=runs/a,runs/b,runs/c --output=memory.png
    python -m experiments.memory.draw --runs=experiments/results/recall_64.json

Runs that differ in their seed alone become one, with an interval of 95 % over seeds and sequences.
"""

import json
from pathlib import Path
from typing import Annotated, NamedTuple

from attention_jax.core.files import write_whole
from experiments.common import flags
from experiments.common.config import DeviceFlags
from experiments.common.flags import Flag
from experiments.memory import plots, seeds


class DrawFlags(NamedTuple):
    """A call of experiments.memory.draw.

    Attributes:
      runs: folders of runs, or files that --report wrote.
      output: figure; its suffix names the format.
      report: file for what is drawn, as JSON; empty for none.
    """

    runs: Annotated[tuple[str, ...], Flag(listed=True)] = ()
    output: str = "memory.png"
    report: str = ""


def main() -> None:
    """Draws the runs that flags name."""
    own = flags.config_from_flags(DrawFlags())
    if not own.runs:
        raise ValueError("`--runs` must name folders of experiments.memory; got none.")
    found = seeds.read(map(Path, own.runs))
    plots.draw(found, own.output)
    print(f"{seeds.table(found)}\n\nfigure: {own.output}")
    if own.report:
        write_whole(own.report, json.dumps(found, indent=1) + "\n")
        print(f"report: {own.report}")


if __name__ == "__main__":
    flags.launch(main, DrawFlags(), DeviceFlags())
