"""Draws the report of a comparison again, from its report.json alone.

    python -m experiments.compare.draw --report=experiments/results/compare_multi30k.json \
        --output=runs/drawn

Reports of earlier versions are read too.
"""

from pathlib import Path
from typing import NamedTuple

from attention_jax.core.files import write_whole
from experiments.common import flags, places
from experiments.common.config import DeviceFlags
from experiments.compare import old_reports, report, verdict


class DrawConfig(NamedTuple):
    """A report to draw again.

    Attributes:
      report: report.json of a comparison.
      output: folder of report.html and the figures. Default: that of --report.
    """

    report: str | None = None
    output: str | None = None


def main() -> None:
    """Reads the numbers, draws, and says the verdict."""
    own = flags.config_from_flags(DrawConfig())
    if not own.report:
        raise ValueError("`--report` must name the report.json of a comparison; got none.")
    found = old_reports.read(Path(own.report))
    folder = places.folder("output", own.output or str(Path(own.report).parent))
    folder.mkdir(parents=True, exist_ok=True)
    drawn = report.draw(found)
    for name, figure in drawn.items():
        write_whole(folder / f"{name}.png", figure.light)
    write_whole(folder / "report.html", report.page(found, drawn) + "\n")
    print(
        "\n".join([verdict.first(found), *verdict.others(found), f"report: {folder}/report.html"])
    )


if __name__ == "__main__":
    flags.launch(main, DrawConfig(), DeviceFlags())
