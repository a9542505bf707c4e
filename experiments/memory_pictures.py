"""Curves of memory: accuracy against length and distance, time and memory against length.

python -m experiments.memory_pictures --runs=runs/a,runs/b,runs/c --output=memory.png
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from absl import flags
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

# Okabe and Ito's colours, which the colour-blind tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
MARKS = "osD^vPX*"


def label(result: dict[str, Any]) -> str:
    """What a run is called in a picture."""
    model = "Transformer" if result["model"] == "transformer" else (result.get("cell") or "RNN")
    parts = {"attention": Path(result["attention"]).stem, "positions": result.get("positions")}
    said = [f"no {kind}" if name == "none" else name for kind, name in parts.items() if name]
    return ", ".join([model, *said])


def read(folders: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Results of runs by their labels, those of one label by their folders too.

    Raises:
      ValueError: a folder holds no finished run, or two runs are of different problems.
    """
    results = {folder: _result(folder) for folder in folders}
    first = next(iter(results))
    for folder, own in results.items():
        if own["task"] != results[first]["task"]:
            raise ValueError(
                f"`--runs` must be of one problem, for they share axes; got {first} of "
                f"{results[first]['task']} and {folder} of {own['task']}. Draw them apart."
            )
    shared = Counter(label(own) for own in results.values())
    return {
        label(own) if shared[label(own)] == 1 else f"{label(own)} ({folder})": own
        for folder, own in results.items()
    }


def _result(folder: Path) -> dict[str, Any]:
    file = folder / "result.json"
    found = json.loads(file.read_text()) if file.is_file() else {}
    if "distances" not in found:
        raise ValueError(
            f"`--runs` must name finished runs of experiments.memory; {folder} is none."
        )
    return found


def draw(results: dict[str, dict[str, Any]], path: str | Path) -> None:
    """Draws runs of experiments.memory, by their labels, into one picture."""
    costs = [own["costs"] for own in results.values()]
    panels = 4 if any(costs) else 2
    figure = Figure((4.6 * min(panels, 2), 3.6 * (panels // 2)), layout="constrained")
    axes = figure.subplots(panels // 2, 2, squeeze=False).ravel()
    for number, (name, own) in enumerate(results.items()):
        style = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": MARKS[number % len(MARKS)],
            "markersize": 4,
            "linewidth": 1.6,
            "label": name,
        }
        tests = sorted(own["tests"], key=own["lengths"].__getitem__)
        axes[0].plot([own["lengths"][test] for test in tests],
                     [100 * own["tests"][test]["accuracy"] for test in tests], **style)  # fmt: skip
        rows = own["distances"][tests[-1]]
        axes[1].plot([row[0] for row in rows], [100 * row[2] / row[3] for row in rows], **style)
        for axis, key, unit in zip(
            axes[2:], ("training_seconds", "temporary_bytes"), (1e3, 2**-20), strict=False
        ):
            drawn = [row for row in own["costs"] if row[key] is not None]
            axis.plot([row["length"] for row in drawn], [row[key] * unit for row in drawn], **style)
    for length in {own["length"] for own in results.values()}:
        axes[0].axvline(length, color="#777777", linestyle=":", linewidth=1)
    _dress(axes[0], "length (dotted: of training)", "accuracy (%)")
    _dress(axes[1], "distance in the longest test, up to twice as far", "accuracy (%)")
    for axis, what in zip(axes[2:], ("ms a training step", "MiB a training step"), strict=False):
        _dress(axis, "length", what)
        axis.set_yscale("log")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8,
        frameon=False,
    )  # fmt: skip
    figure.savefig(path, dpi=120)


def _dress(axis: Axes, across: str, up: str) -> None:
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_locator(LogLocator(2, numticks=6))  # more would run into each other
    axis.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axis.set_xlabel(across)
    axis.set_ylabel(up)
    if "accuracy" in up:
        axis.set_ylim(-3, 103)
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Draws the runs that flags name."""
    if not flags.FLAGS.runs:
        raise ValueError("`--runs` must name folders of experiments.memory; got none.")
    draw(read(map(Path, flags.FLAGS.runs)), flags.FLAGS.output)
    print(f"picture: {flags.FLAGS.output}")


if __name__ == "__main__":
    from experiments import common

    common.define_device_flags()
    flags.adopt_module_key_flags(common)
    flags.DEFINE_list("runs", [], "Folders of runs.")
    flags.DEFINE_string("output", "memory.png", "Picture; its suffix names the format.")
    common.launch(main)
