"""Figures of a comparison, each for light and for dark ground."""

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attention_jax.analysis.plots import style
from attention_jax.analysis.plots.style import Theme
from experiments.compare.summary import SCORES, cost

_WIDTH, _HEIGHT = 4.6, 3.4  # inches of a panel
_CURVES = {
    "loss": ("validation loss", 1),
    "exact_match": ("validation: exact match, %", 100),
    "bleu": ("validation: BLEU", 1),
    "accuracy": ("validation: accuracy, %", 100),
    "wer": ("validation: word error rate, %", 1),
    "cer": ("validation: character error rate, %", 1),
}
_COSTS = {
    "training_tokens_per_second": ("training, tokens a second", 1.0),
    "one_sentence_seconds": ("translating one sentence, ms", 1e3),
    "many_sentences_seconds": ("translating many at once, ms", 1e3),
    "temporary_bytes": ("temporary memory of a step, MB", 1e-6),
    "compile_seconds": ("compiling a step, s", 1.0),
}

Drawing = Callable[[dict[str, Any], Theme], Figure | None]


def scores(found: dict[str, Any], theme: Theme) -> Figure | None:
    """Each candidate's mean with its interval, and its runs, on each test."""
    tests = {name: test["scores"] for name, test in found["tests"].items() if test["scores"]}
    if not tests:
        return None
    names = list(found["candidates"])
    figure, panels = _figure(len(tests), theme, height=0.9 + 0.42 * len(names))
    for axes, (test, own) in zip(panels, tests.items(), strict=True):
        for row, name in enumerate(reversed(names)):
            if name in own:
                _bar(axes, own[name], row, _look(found, name, theme)["color"])
        axes.set_yticks(range(len(names)), list(reversed(names)))
        style.panel(axes, f"{test}: {SCORES[found['options']['score']]}", theme=theme)
        axes.set_ylim(-0.6, len(names) - 0.4)
    return figure


def _bar(axes: Axes, score: dict[str, Any], row: int, color: str) -> None:
    axes.plot(score["values"], [row] * len(score["values"]), "|", color=color, markersize=9)
    if score["low"] is not None:
        axes.plot([score["low"], score["high"]], [row, row], color=color, linewidth=2)
    axes.plot(score["mean"], row, "o", color=color, markersize=6)


def by_length(found: dict[str, Any], theme: Theme) -> Figure | None:
    """Scores against the length of the sentence; beyond those of training on a shade."""
    buckets = found["lengths"]["buckets"]
    if not any(bucket["scores"] for bucket in buckets):
        return None
    figure, (axes,) = _figure(1, theme, width=1.6 * _WIDTH)
    for number, name in enumerate(found["candidates"]):
        points = [
            ((b["low"] + b["high"]) / 2, b["scores"][name]) for b in buckets if name in b["scores"]
        ]
        _line(axes, points, _look(found, name, theme), name, shift=number)
    beyond = [bucket["low"] for bucket in buckets if bucket["beyond"]]
    if beyond:
        edge = found["lengths"]["longest_in_training"] + 0.5
        last = max(bucket["high"] for bucket in buckets)
        axes.axvspan(edge, max(last, edge) + 0.5, color=theme.grid, alpha=0.6, zorder=0)
    axes.set_xlabel("tokens of the source; shaded: longer than any in training")
    style.panel(axes, SCORES[found["options"]["score"]], theme=theme)
    style.legend(axes, theme=theme)
    return figure


def curves(found: dict[str, Any], theme: Theme) -> Figure | None:
    """Validation loss and score, by step and by second."""
    points_of = found["curves"]
    names = [
        x
        for x in dict.fromkeys(("loss", found["options"]["score"]))
        if any(x in point for points in points_of.values() for point in points)
    ]
    if not names:
        return None
    figure, panels = _figure(2 * len(names), theme)
    places = [(measure, axis) for measure in names for axis in ("step", "seconds")]
    for axes, (measure, axis) in zip(panels, places, strict=True):
        title, unit = _CURVES[measure]
        for name, points in points_of.items():
            drawn = [(_place(p, axis), _scaled(p[measure], unit)) for p in points if measure in p]
            _line(axes, drawn, _look(found, name, theme), name)
        axes.set_xlabel(axis)
        style.panel(axes, title, theme=theme)
    style.legend(panels[0], theme=theme)
    return figure


def _scaled(mean: dict[str, Any], unit: float) -> dict[str, Any]:
    """A mean and its interval, if it has one, in another unit."""
    return {x: None if mean[x] is None else unit * mean[x] for x in ("mean", "low", "high")}


def _place(point: dict[str, Any], axis: str) -> float:
    return point["step"] if axis == "step" else point["seconds"]["mean"]


def costs(found: dict[str, Any], theme: Theme) -> Figure | None:
    """Costs against the length of the sentences, both axes logarithmic."""
    measured = [
        x for x in _COSTS if any(row.get(x) for rows in found["costs"].values() for row in rows)
    ]
    if not measured:
        return None
    figure, panels = _figure(len(measured), theme)
    for axes, measure in zip(panels, measured, strict=True):
        title, unit = _COSTS[measure]
        ticks: set[int] = set()
        for name, rows in found["costs"].items():
            own = [(row["length"], cost(row, measure, unit)) for row in rows if row.get(measure)]
            ticks |= {length for length, _ in own}
            _line(axes, own, _look(found, name, theme), name)
        style.length_axis(axes, sorted(ticks))
        style.log_axis(axes)
        axes.set_xlabel("tokens of a sentence")
        style.panel(axes, title, theme=theme)
    style.legend(panels[0], theme=theme)
    return figure


DRAWINGS: dict[str, Drawing] = {
    "scores": scores,
    "by_length": by_length,
    "curves": curves,
    "costs": costs,
}


def _figure(
    count: int, theme: Theme, *, width: float = _WIDTH, height: float = _HEIGHT
) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, two in a row."""
    columns = min(count, 2)
    rows = -(-count // columns)
    figure, grid = style.figure(rows, columns, size=(width * columns, height * rows), theme=theme)
    panels = list(grid.ravel())
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels[:count]


def _look(found: dict[str, Any], name: str, theme: Theme) -> dict[str, Any]:
    """Color and marker of a candidate, the same in all figures."""
    number = list(found["candidates"]).index(name)
    color = theme.colors[number % len(theme.colors)]
    return {"color": color, "marker": style.MARKERS[number % len(style.MARKERS)]}


def _line(
    axes: Axes,
    points: list[tuple[float, dict[str, Any]]],
    look: dict[str, Any],
    name: str,
    *,
    shift: int = 0,
) -> None:
    """Means with whiskers of their intervals; a small shift keeps whiskers apart."""
    if not points:
        return
    at = np.array([x for x, _ in points]) + 0.08 * shift
    axes.plot(at, [y["mean"] for _, y in points], label=name, markersize=5, linewidth=1.6, **look)
    for x, (_, y) in zip(at, points, strict=True):
        if y["low"] is not None:
            axes.plot([x, x], [y["low"], y["high"]], color=look["color"], linewidth=1)
