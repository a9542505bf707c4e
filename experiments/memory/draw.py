"""Draws the curves of several runs of experiments.memory into one figure.

python -m experiments.memory.draw --runs=runs/a,runs/b,runs/c --output=memory.png
"""

from pathlib import Path
from typing import Annotated, NamedTuple

from experiments.common import flags
from experiments.common.config import DeviceFlags
from experiments.common.flags import Flag
from experiments.memory import plots


class DrawFlags(NamedTuple):
    """A call of experiments.memory.draw.

    Attributes:
      runs: folders of runs.
      output: figure; its suffix names the format.
    """

    runs: Annotated[tuple[str, ...], Flag(listed=True)] = ()
    output: str = "memory.png"


def main() -> None:
    """Draws the runs that flags name."""
    own = flags.config_from_flags(DrawFlags())
    if not own.runs:
        raise ValueError("`--runs` must name folders of experiments.memory; got none.")
    plots.draw(plots.read(map(Path, own.runs)), own.output)
    print(f"figure: {own.output}")


if __name__ == "__main__":
    flags.launch(main, DrawFlags(), DeviceFlags())
