"""Curves of memory: accuracy against length and distance, time and memory against length."""

import json
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from attention_jax import variants
from attention_jax.analysis.plots import style


def label(result: dict[str, Any]) -> str:
    """The name of a run in a figure."""
    model = "Transformer" if result["model"] == "transformer" else (result.get("cell") or "RNN")
    parts = {"attention": variants.slug(result["attention"]), "positions": result.get("positions")}
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
    found = json.loads(file.read_text()) if os.path.isfile(file) else {}
    if "distances" not in found:
        raise ValueError(
            f"`--runs` must name finished runs of experiments.memory; {folder} is none."
        )
    return found


def draw(results: dict[str, dict[str, Any]], path: str | Path | None = None) -> Figure:
    """Draws runs of experiments.memory, by their labels, into one figure."""
    rows = 2 if any(own["costs"] for own in results.values()) else 1
    figure, panels = style.figure(rows, 2, size=(9.2, 3.6 * rows))
    panels = panels.ravel()
    for number, (name, own) in enumerate(results.items()):
        look = {
            "color": style.COLORS[number % len(style.COLORS)],
            "marker": style.MARKERS[number % len(style.MARKERS)],
            "markersize": 4,
            "linewidth": 1.6,
            "label": name,
        }
        draw_accuracy(panels[0], panels[1], own, look)
        draw_costs(panels[2:], own["costs"], look)
    for length in {own["length"] for own in results.values()}:
        panels[0].axvline(length, color=style.FAINT, linestyle=":", linewidth=1)
    dress(panels[0], "length (dotted: of training)", "accuracy (%)")
    dress(panels[1], "distance in the longest test, up to twice as far", "accuracy (%)")
    for axes, unit in zip(panels[2:], ("ms a training step", "MiB a training step"), strict=False):
        dress(axes, "length", unit)
        style.log_axis(axes)
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return style.saved(figure, path)


def draw_accuracy(
    by_length: Axes, by_distance: Axes, result: dict[str, Any], look: dict[str, Any]
) -> None:
    """Draws the accuracy of a run, in percent."""
    tests = sorted(result["tests"], key=result["lengths"].__getitem__)
    accuracy = [100 * result["tests"][test]["accuracy"] for test in tests]
    by_length.plot([result["lengths"][test] for test in tests], accuracy, **look)
    rows = result["distances"][tests[-1]]
    by_distance.plot([row[0] for row in rows], [100 * row[2] / row[3] for row in rows], **look)


def draw_costs(panels: Iterable[Axes], costs: list[dict[str, Any]], look: dict[str, Any]) -> None:
    """Draws the time and the memory of a step."""
    units = {"training_seconds": 1e3, "temporary_bytes": 2**-20}
    for axes, (key, unit) in zip(panels, units.items(), strict=False):
        drawn = [row for row in costs if row[key] is not None]
        axes.plot([row["length"] for row in drawn], [row[key] * unit for row in drawn], **look)


def dress(axes: Axes, across: str, up: str) -> None:
    """Gives a panel its axes."""
    style.panel(axes)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(2, numticks=6))  # more would run into each other
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    if "accuracy" in up:
        axes.set_ylim(-3, 103)
