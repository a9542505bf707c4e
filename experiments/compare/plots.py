"""Pictures of a comparison, each for light and for dark ground."""

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator


class Palette(NamedTuple):
    """Colours of one ground; those of candidates can be told apart by the colour-blind."""

    ground: str
    ink: str
    grid: str
    lines: tuple[str, ...]


LIGHT = Palette(
    "#ffffff",
    "#222222",
    "#e6e6e6",
    ("#0072b2", "#d55e00", "#00845f", "#a8528c", "#8a6d00", "#2f2f2f", "#7b4ea3", "#a03030"),
)
DARK = Palette(
    "#191d23",
    "#e4e8ed",
    "#39414c",
    ("#56b4e9", "#ff8c42", "#3fcf9f", "#e79cc9", "#e6c34a", "#d0d0d0", "#b392e0", "#ff8080"),
)
_MARKS, _PIXELS_PER_INCH, _WIDTH, _HEIGHT = "os^vDP<>X", 110, 4.6, 3.4
SCORES = {
    "exact_match": "exact match, %",
    "bleu": "BLEU",
    "accuracy": "accuracy, %",
    "wer": "word error rate, %",
    "cer": "character error rate, %",
}
_CURVES = {
    "loss": "validation loss",
    "exact_match": "exact match",
    "bleu": "BLEU",
    "accuracy": "accuracy",
    "wer": "word error rate",
    "cer": "character error rate",
}
_COSTS = {
    "training_tokens_per_second": ("training, tokens a second", 1.0),
    "one_sentence_seconds": ("translating one sentence, ms", 1e3),
    "many_sentences_seconds": ("translating many at once, ms", 1e3),
    "temporary_bytes": ("temporary memory of a step, MB", 1e-6),
    "compile_seconds": ("compiling a step, s", 1.0),
}

Drawing = Callable[[dict[str, Any], Palette], Figure | None]


def png(figure: Figure, palette: Palette) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_PIXELS_PER_INCH, facecolor=palette.ground)
    return buffer.getvalue()


def scores(found: dict[str, Any], palette: Palette) -> Figure | None:
    """Each candidate's mean with its interval, and its runs, on each test."""
    tests = {name: test["scores"] for name, test in found["tests"].items() if test["scores"]}
    if not tests:
        return None
    names = list(found["candidates"])
    figure, panels = _figure(len(tests), height=0.9 + 0.42 * len(names))
    for panel, (test, own) in zip(panels, tests.items(), strict=True):
        for row, name in enumerate(reversed(names)):
            if name in own:
                colour = _style(found, name, palette)["color"]
                _bar(panel, own[name], row, colour)
        panel.set_yticks(range(len(names)), list(reversed(names)))
        panel.set_ylim(-0.6, len(names) - 0.4)
        _dress(panel, f"{test}: {SCORES[found['options']['score']]}", palette)
    return figure


def _bar(panel: Axes, score: dict[str, Any], row: int, colour: str) -> None:
    panel.plot(score["values"], [row] * len(score["values"]), "|", color=colour, markersize=9)
    if score["low"] is not None:
        panel.plot([score["low"], score["high"]], [row, row], color=colour, linewidth=2)
    panel.plot(score["mean"], row, "o", color=colour, markersize=6)


def by_length(found: dict[str, Any], palette: Palette) -> Figure | None:
    """Scores against the length of the sentence; beyond those of training on a shade."""
    buckets = found["lengths"]["buckets"]
    if not any(bucket["scores"] for bucket in buckets):
        return None
    figure, (panel,) = _figure(1, width=1.6 * _WIDTH)
    for number, name in enumerate(found["candidates"]):
        points = [
            ((b["low"] + b["high"]) / 2, b["scores"][name]) for b in buckets if name in b["scores"]
        ]
        _line(panel, points, _style(found, name, palette), name, shift=number)
    beyond = [bucket["low"] for bucket in buckets if bucket["beyond"]]
    if beyond:
        edge = found["lengths"]["longest_in_training"] + 0.5
        last = max(bucket["high"] for bucket in buckets)
        panel.axvspan(edge, max(last, edge) + 0.5, color=palette.grid, alpha=0.6, zorder=0)
    _dress(panel, SCORES[found["options"]["score"]], palette)
    panel.set_xlabel("tokens of the source; shaded: longer than any in training", color=palette.ink)
    _legend(panel, palette)
    return figure


def curves(found: dict[str, Any], palette: Palette) -> Figure | None:
    """How validation went, by step and by second."""
    score = found["options"]["score"]
    names = [
        x
        for x in dict.fromkeys(("loss", score))
        if any(x in point for points in found["curves"].values() for point in points)
    ]
    if not names:
        return None
    figure, panels = _figure(2 * len(names), columns=2)
    for at, measure in enumerate(names):
        for panel, axis in zip(panels[2 * at : 2 * at + 2], ("step", "seconds"), strict=True):
            for name, points in found["curves"].items():
                drawn = [(_place(p, axis), p[measure]) for p in points if measure in p]
                _line(panel, drawn, _style(found, name, palette), name)
            _dress(panel, _CURVES[measure], palette)
            panel.set_xlabel(axis, color=palette.ink)
    _legend(panels[0], palette)
    return figure


def _place(point: dict[str, Any], axis: str) -> float:
    return point["step"] if axis == "step" else point["seconds"]["mean"]


def costs(found: dict[str, Any], palette: Palette) -> Figure | None:
    """Costs against the length of the sentences, both axes by powers."""
    measured = [
        x for x in _COSTS if any(row.get(x) for rows in found["costs"].values() for row in rows)
    ]
    if not measured:
        return None
    figure, panels = _figure(len(measured), columns=2)
    for panel, measure in zip(panels, measured, strict=False):
        title, unit = _COSTS[measure]
        ticks: set[int] = set()
        for name, rows in found["costs"].items():
            own = [(row["length"], cost(row, measure, unit)) for row in rows if row.get(measure)]
            ticks |= {length for length, _ in own}
            _line(panel, own, _style(found, name, palette), name)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        panel.yaxis.set_minor_formatter(FuncFormatter(_two_or_five))
        panel.set_xticks(sorted(ticks), [f"{x:,}" for x in sorted(ticks)])
        panel.xaxis.set_minor_locator(NullLocator())
        _dress(panel, title, palette)
        panel.set_xlabel("tokens of a sentence", color=palette.ink)
    _legend(panels[0], palette)
    return figure


def cost(row: dict[str, Any], measure: str, unit: float = 1.0) -> dict[str, Any]:
    """A median with the lowest and the highest of its calls; one number has neither."""
    low, high = row.get(f"{measure}_range", (None, None))
    of_unit = [None if x is None else x * unit for x in (row[measure], low, high)]
    return dict(zip(("mean", "low", "high"), of_unit, strict=True))


def _two_or_five(value: float, _: int) -> str:
    """Between powers of ten, names of as many ticks as there is room for."""
    return f"{value:,.10g}" if f"{value:e}"[0] in "25" else ""


DRAWINGS: dict[str, Drawing] = {
    "scores": scores,
    "by_length": by_length,
    "curves": curves,
    "costs": costs,
}


def _figure(
    count: int, *, columns: int = 2, width: float = _WIDTH, height: float = _HEIGHT
) -> tuple[Figure, list[Axes]]:
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = Figure((width * columns, height * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for panel in panels[count:]:
        panel.set_visible(False)
    return figure, panels[:count]


def _style(found: dict[str, Any], name: str, palette: Palette) -> dict[str, Any]:
    number = list(found["candidates"]).index(name)
    colour = palette.lines[number % len(palette.lines)]
    return {"color": colour, "marker": _MARKS[number % len(_MARKS)]}


def _line(
    panel: Axes,
    points: list[tuple[float, dict[str, Any]]],
    style: dict[str, Any],
    name: str,
    *,
    shift: int = 0,
) -> None:
    """Means with whiskers of their intervals; a small shift keeps whiskers apart."""
    if not points:
        return
    at = np.array([x for x, _ in points]) + 0.08 * shift
    panel.plot(at, [y["mean"] for _, y in points], label=name, markersize=5, linewidth=1.6, **style)
    for x, (_, y) in zip(at, points, strict=True):
        if y["low"] is not None:
            panel.plot([x, x], [y["low"], y["high"]], color=style["color"], linewidth=1)


def _legend(panel: Axes, palette: Palette) -> None:
    if panel.get_legend_handles_labels()[0]:
        panel.legend(frameon=False, fontsize=9, labelcolor=palette.ink)


def _dress(panel: Axes, title: str, palette: Palette) -> None:
    panel.set_title(title, loc="left", fontsize=11, color=palette.ink)
    panel.set_facecolor(palette.ground)
    panel.grid(color=palette.grid, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(palette.ink)
    panel.tick_params(which="both", colors=palette.ink, labelsize=9)
    panel.margins(x=0.04, y=0.08)
