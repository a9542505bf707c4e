"""Figures of a comparison, each for light and for dark ground, in the order of its tables."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attention_jax.analysis.plots import direct_labels, style
from attention_jax.analysis.plots.style import Theme
from experiments.compare import verdict
from experiments.compare.summary import SCORES, cost, is_untrained, own_tokens

_WIDTH, _HEIGHT = 5.6, 3.4  # inches of a panel with names beside it
_CURVES = {
    "loss": ("validation loss, nats", 1),
    "exact_match": ("validation: exact match, %", 100),
    "bleu": ("validation: BLEU", 1),
    "accuracy": ("validation: accuracy, %", 100),
    "wer": ("validation: word error rate, %", 1),
    "cer": ("validation: character error rate, %", 1),
    "bits_per_character": ("validation: bits a character", 1),
}
_COSTS = {
    "training_tokens_per_second": ("training, tokens a second", 1.0),
    "one_sentence_seconds": ("translating one sentence, ms", 1e3),
    "many_sentences_seconds": ("translating many at once, ms", 1e3),
    "temporary_bytes": ("temporary memory of a step, MB", 1e-6),
    "compile_seconds": ("compiling a step, s", 1.0),
}
_WHOLE = ("exact_match", "accuracy")  # drawn from 0 to 100 %
_AXES = {"step": "steps of training", "seconds": "seconds of training"}

Drawing = Callable[[dict[str, Any], Theme], Figure | None]


def quality(found: dict[str, Any], theme: Theme) -> Figure | None:
    """Quality of each candidate on the first test against what its training cost."""
    test = next(iter(found["tests"].values()), {"scores": {}})
    spent_by = {name: _spent(found, name) for name in verdict.order(found)}
    points = {name: x for name, x in spent_by.items() if x is not None and name in test["scores"]}
    if not points:
        return None
    figure, (axes,) = _figure(1, theme, width=8.2, height=4.4)
    for name, spent in points.items():
        look, score = _look(found, name, theme), test["scores"][name]
        _dot(axes, spent["mean"], score["mean"], look, learned=test["learned"][name])
        _whiskers(axes, spent, score, look["color"])
    _guess_line(axes, test["guess"], theme, across=True)
    axes.set_xlabel(f"{_spent_unit(found)}: less is better")
    measure = found["options"]["score"]
    style.panel(
        axes, f"{found['task']}: {SCORES[measure]} against the cost of training", theme=theme
    )
    _whole(axes, measure, upright=True)
    is_cut = _limit_costs(axes, list(points.values()))
    at = {name: (x["mean"], test["scores"][name]["mean"]) for name, x in points.items()}
    direct_labels.name_points(axes, at, _colors(found, theme), theme=theme)
    beyond = "; a line that meets the edge goes on" if is_cut else ""
    style.note(figure, _marks(found, test) + beyond, theme=theme)
    return figure


def _limit_costs(axes: Axes, spent: Sequence[dict[str, Any]]) -> bool:
    """Ends the axis of costs not far beyond the marks; true where a line reaches further.

    Of two runs an interval can be so wide that all marks would lie on one another.
    """
    most, least = (of(x["mean"] for x in spent) for of in (max, min))
    longest = max(x["high"] or x["mean"] for x in spent)
    highest = min(longest, 3 * most)
    if least > 0 and most > 12 * least:
        axes.set_xscale("log")
        axes.set_xlim(least / 4, 1.1 * highest)
    else:
        axes.set_xlim(0, 1.1 * highest)
    return longest > highest


def scores(found: dict[str, Any], theme: Theme) -> Figure | None:
    """Each candidate's mean with its interval, and its runs, on each test."""
    tests = {name: test for name, test in found["tests"].items() if test["scores"]}
    if not tests:
        return None
    names = verdict.order(found)
    figure, panels = _figure(len(tests), theme, height=1.0 + 0.42 * len(names))
    measure = found["options"]["score"]
    for axes, (name, test) in zip(panels, tests.items(), strict=True):
        for row, one in enumerate(reversed(names)):
            if one in test["scores"]:
                color = _look(found, one, theme)["color"]
                _bar(axes, test["scores"][one], row, color, learned=test["learned"][one])
        axes.set_yticks(range(len(names)), list(reversed(names)))
        _guess_line(axes, test["guess"], theme, across=False)
        style.panel(axes, f"{name}: {SCORES[measure]}", theme=theme)
        _whole(axes, measure, upright=False)
        axes.set_ylim(-0.6, len(names) - 0.4)
    style.note(figure, f"{_marks(found, next(iter(tests.values())))}; ticks: runs", theme=theme)
    return figure


def _bar(axes: Axes, score: dict[str, Any], row: int, color: str, *, learned: bool) -> None:
    axes.plot(score["values"], [row] * len(score["values"]), "|", color=color, markersize=9)
    if score["low"] is not None:
        axes.plot([score["low"], score["high"]], [row, row], color=color, linewidth=2)
    _dot(axes, score["mean"], row, {"color": color, "marker": "o"}, learned=learned)


def by_length(found: dict[str, Any], theme: Theme) -> Figure | None:
    """Scores against the length of the sentence; beyond those of training on a shade."""
    buckets = found["lengths"]["buckets"]
    if not any(bucket["scores"] for bucket in buckets):
        return None
    figure, (axes,) = _figure(1, theme, width=1.6 * _WIDTH)
    ends = {}
    for number, name in enumerate(verdict.order(found)):
        points = [
            ((b["low"] + b["high"]) / 2, b["scores"][name]) for b in buckets if name in b["scores"]
        ]
        ends |= _line(axes, points, _look(found, name, theme), name, shift=number)
    beyond = [bucket["low"] for bucket in buckets if bucket["beyond"]]
    if beyond:
        edge = found["lengths"]["longest_in_training"] + 0.5
        last = max(bucket["high"] for bucket in buckets)
        axes.axvspan(edge, max(last, edge) + 0.5, color=theme.grid, alpha=0.6, zorder=0)
    shaded = "; shaded: longer than any in training" if beyond else ""
    axes.set_xlabel(f"tokens of the source{shaded}")
    measure = found["options"]["score"]
    style.panel(axes, f"{SCORES[measure]}, by length; lines: intervals", theme=theme)
    _whole(axes, measure, upright=True)
    direct_labels.name_lines(axes, ends, _colors(found, theme), theme=theme)
    return figure


def curves(found: dict[str, Any], theme: Theme) -> Figure | None:
    """Validation loss and score, by step and by second."""
    measures = dict.fromkeys(("loss", found["options"]["score"]))
    points_of = {measure: _points(found, measure) for measure in measures}
    names = [x for x in measures if any(points_of[x].values())]
    if not names:
        return None
    figure, panels = _figure(2 * len(names), theme)
    places = [(measure, axis) for measure in names for axis in _AXES]
    for axes, (measure, axis) in zip(panels, places, strict=True):
        title, unit = _CURVES[measure]
        own = {
            name: [(_place(p, axis), _scaled(p[measure], unit)) for p in points_of[measure][name]]
            for name in verdict.order(found)
            if name in points_of[measure]
        }
        ends = _levels(axes, found, own, theme)
        for name in (x for x in own if x not in ends):
            ends |= _line(axes, own[name], _look(found, name, theme), name)
        axes.set_xlabel(_AXES[axis])
        style.panel(axes, title, theme=theme)
        _whole(axes, measure, upright=True)
        direct_labels.name_lines(axes, ends, _colors(found, theme), theme=theme)
    style.note(figure, _under_curves(found, names), theme=theme)
    return figure


def _under_curves(found: dict[str, Any], measures: list[str]) -> str:
    """The marks of learning curves, in words, and what is not among them."""
    share, apart = f"{100 * found['options']['confidence']:.4g} %", own_tokens(found)
    said = f"Mark: mean of the runs at a validation; line: {share} interval"
    if any(is_untrained(x) for x in found["candidates"].values()):
        said += "; dotted: a model that is not trained"
    if "loss" in measures and apart:
        said += f"\nNot drawn beside losses of other tokens: {', '.join(apart)}"
    return said


def _levels(
    axes: Axes,
    found: dict[str, Any],
    drawn: dict[str, list[tuple[float, dict[str, Any]]]],
    theme: Theme,
) -> dict[str, tuple[float, float]]:
    """The scores of models that are not trained, as dotted lines over all steps of the others."""
    last = max((x for points in drawn.values() for x, _ in points), default=0.0)
    ends = {}
    for name, points in drawn.items():
        if is_untrained(found["candidates"][name]) and points:
            level, color = points[0][1]["mean"], _look(found, name, theme)["color"]
            axes.plot([0, last], [level, level], ":", color=color, linewidth=1.6, label=name)
            ends[name] = (float(last), float(level))
    return ends


def _points(found: dict[str, Any], measure: str) -> dict[str, list[dict[str, Any]]]:
    """Validations that have a measure; losses are means over tokens, which all must share."""
    apart = own_tokens(found) if measure == "loss" else ()
    return {
        name: [x for x in points if measure in x]
        for name, points in found["curves"].items()
        if name not in apart
    }


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
        ends = {}
        for name in (x for x in verdict.order(found) if x in found["costs"]):
            rows = found["costs"][name]
            own = [(row["length"], cost(row, measure, unit)) for row in rows if row.get(measure)]
            ticks |= {length for length, _ in own}
            ends |= _line(axes, own, _look(found, name, theme), name)
        style.length_axis(axes, sorted(ticks))
        style.log_axis(axes)
        axes.set_xlabel("tokens of a sentence")
        style.panel(axes, title, theme=theme)
        direct_labels.name_lines(axes, ends, _colors(found, theme), theme=theme)
    style.note(figure, "Mark: median call; line: from the lowest to the highest", theme=theme)
    return figure


DRAWINGS: dict[str, Drawing] = {
    "quality": quality,
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


def _colors(found: dict[str, Any], theme: Theme) -> dict[str, str]:
    return {name: _look(found, name, theme)["color"] for name in found["candidates"]}


def _spent(found: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Cost of training: seconds, or operations where all have the same seconds."""
    own = found["candidates"][name]
    if found["options"]["match"] != "time":
        return own["seconds"]
    return None if own["flops"] is None else {"mean": own["flops"], "low": None, "high": None}


def _spent_unit(found: dict[str, Any]) -> str:
    by_time = found["options"]["match"] == "time"
    return "floating-point operations of training" if by_time else "seconds of training"


def _dot(axes: Axes, x: float, y: float, look: dict[str, Any], *, learned: bool) -> None:
    """The mark of a mean, hollow where nothing was learned."""
    fill = look["color"] if learned else "none"
    axes.plot(x, y, markersize=7, markerfacecolor=fill, linestyle="none", **look)


def _whiskers(axes: Axes, x: dict[str, Any], y: dict[str, Any], color: str) -> None:
    if y["low"] is not None:
        axes.plot([x["mean"]] * 2, [y["low"], y["high"]], color=color, linewidth=1.4)
    if x["low"] is not None:
        axes.plot([x["low"], x["high"]], [y["mean"]] * 2, color=color, linewidth=1.4)


def _guess_line(axes: Axes, guess: dict[str, Any] | None, theme: Theme, *, across: bool) -> None:
    if guess is not None:
        draw = axes.axhline if across else axes.axvline
        draw(guess["mean"], color=theme.ink, linestyle="--", linewidth=1, zorder=1)


def _marks(found: dict[str, Any], test: dict[str, Any]) -> str:
    """The marks of a figure, in words."""
    share = f"{100 * found['options']['confidence']:.4g} %"
    parts = [f"Mark: mean of the runs; line: {share} interval over seeds and items"]
    if test["guess"] is not None:
        parts.append("dashed: a guess that never reads its input")
    if not all(test["learned"].values()):
        parts.append("hollow: learned nothing")
    return "; ".join(parts)


def _whole(axes: Axes, measure: str, *, upright: bool) -> None:
    """The whole range of a share; others begin at 0."""
    limits = (-3, 103) if measure in _WHOLE else (0, None)
    if upright:
        axes.set_ylim(*limits)
    else:
        axes.set_xlim(*limits)


def _line(
    axes: Axes,
    points: list[tuple[float, dict[str, Any]]],
    look: dict[str, Any],
    name: str,
    *,
    shift: int = 0,
) -> dict[str, tuple[float, float]]:
    """Means with whiskers of their intervals, and the end of the line by its name.

    A small shift keeps whiskers apart.
    """
    if not points:
        return {}
    at = np.array([x for x, _ in points], float) + 0.08 * shift
    axes.plot(at, [y["mean"] for _, y in points], label=name, markersize=5, linewidth=1.6, **look)
    for x, (_, y) in zip(at, points, strict=True):
        if y["low"] is not None:
            axes.plot([x, x], [y["low"], y["high"]], color=look["color"], linewidth=1)
    return {name: (float(at[-1]), float(points[-1][1]["mean"]))}
