"""Curves of memory: accuracy against length and distance, time and memory against length."""

import json
import os
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
    attention = result["attention"]
    # Of a file of one's own its name is enough; a pattern of layers is clearest as it was written.
    attention = variants.slug(attention) if ".py" in attention else attention
    parts = {"attention": attention, "positions": result.get("positions")}
    said = [f"no {kind}" if name == "none" else name for kind, name in parts.items() if name]
    return ", ".join([model, *said])


def result(folder: Path) -> dict[str, Any]:
    """The result of a run.

    Raises:
      ValueError: the folder holds no finished run.
    """
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
        look = style.line(number) | {"linewidth": 1.6, "label": name}
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
    own, at = result["tests"], [result["lengths"][test] for test in tests]
    by_length.plot(at, [100 * own[test]["accuracy"] for test in tests], **look)
    if all(own[test].get("low") is not None for test in tests):
        low, high = ([100 * own[test][end] for test in tests] for end in ("low", "high"))
        by_length.fill_between(at, low, high, color=look["color"], alpha=0.12, linewidth=0)
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
