"""Report of the variants benchmark: lines of a table, and a figure."""

from os import PathLike
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from attention_jax.analysis.plots import style
from attention_jax.analysis.variant_support import FAMILIES
from experiments.benchmark.attention_cases import BOTH, FORWARD
from experiments.benchmark.rows import Row
from experiments.benchmark.variants import growth

_COLORS = dict(zip(FAMILIES, style.COLORS, strict=False))
_OTHERS = "#dcdcdc"  # lines of other families


class Kind(NamedTuple):
    """A column of panels."""

    title: str
    direction: str
    measure: str  # a field of Row
    scale: float
    unit: str


_PANELS = (
    Kind("forward", FORWARD, "ours_ms", 1, "ms"),
    Kind("forward and backward", BOTH, "ours_ms", 1, "ms"),
    Kind("memory, forward and backward", BOTH, "temporary_bytes", 1e-6, "MB"),
)


def header(lengths: tuple[int, ...]) -> str:
    """The first lines of the table."""
    cells = "".join(f"{f'{length:,}':>20}" for length in sorted(lengths))
    return f"{'milliseconds / temporary MB at':<46}{cells}{'growth of time':>16}{'of memory':>11}"


def line(rows: list[Row], *, progress: str) -> str:
    """One line of a variant in one direction, from the rows of its lengths."""
    ((name, direction),) = {(row.case["variant"], row.case["direction"]) for row in rows}
    grown = growth(rows)[name][direction]
    cells = "".join(f"{_cell(row):>20}" for row in sorted(rows, key=lambda row: row.case["length"]))
    own, of_memory = (
        "-" if grown[measure] is None else f"{grown[measure]:.2f}"
        for measure in ("seconds", "temporary_bytes")
    )
    return f"{progress:<8}{name:<21}{direction:<17}{cells}{own:>16}{of_memory:>11}"


def reasons(rows: list[Row]) -> list[str]:
    """The reasons why lengths were not measured, a line each."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for reason in row.not_measured.values():
            found.setdefault(reason, []).append(f"{row.case['length']:,}")
    return [f"{', '.join(lengths)}: {reason}" for reason, lengths in found.items()]


def _cell(row: Row) -> str:
    if row.ours_ms is None or row.temporary_bytes is None:
        return "-"
    return f"{row.ours_ms:,.1f} / {row.temporary_bytes / 1e6:,.1f}"


def plot(rows: list[Row], path: str | PathLike[str]) -> None:
    """Draws time and memory against the length: a row of panels for each family of variants.

    The lines of the family are named where they end; those of the others are gray behind them.

    Args:
      rows: all that were measured.
      path: the file to write; its suffix names the format.
    """
    families = [family for family in FAMILIES if any(row.case["family"] == family for row in rows)]
    counts = [
        len({row.case["variant"] for row in rows if row.case["family"] == x}) for x in families
    ]
    heights = [max(2.4, 0.5 + 0.135 * count) for count in counts]
    figure, panels = style.figure(
        len(families),
        len(_PANELS),
        size=(17.0, 0.9 + sum(heights) + 0.5 * len(heights)),
        share_x=True,
        share_y="col",
        heights=heights,
    )
    for family, row in zip(families, panels, strict=True):
        for kind, axes in zip(_PANELS, row, strict=True):
            _draw(axes, rows, family, kind)
    for axes in panels[-1]:
        axes.set_xlabel("length of the sequence")
    figure.draw_without_rendering()  # names are placed by where panels are
    for family, row in zip(families, panels, strict=True):
        for kind, axes in zip(_PANELS, row, strict=True):
            own = {x.case["variant"] for x in rows if x.case["family"] == family}
            lines = _lines(rows, kind)
            _name(axes, {name: points for name, points in lines.items() if name in own}, family)
    style.save(figure, path)


def _lines(rows: list[Row], kind: Kind) -> dict[str, list[tuple[int, float]]]:
    """Variant -> its points."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in sorted(rows, key=lambda row: row.case["length"]):
        value = getattr(row, kind.measure)
        if row.case["direction"] == kind.direction and row.ours_ms and value:
            point = (row.case["length"], value * kind.scale)
            found.setdefault(row.case["variant"], []).append(point)
    return found


def _draw(axes: Axes, rows: list[Row], family: str, kind: Kind) -> None:
    of = {row.case["variant"]: row.case["family"] for row in rows}
    for name, points in _lines(rows, kind).items():
        own = of[name] == family
        axes.plot(
            *zip(*points, strict=True),
            color=_COLORS[family] if own else _OTHERS,
            linewidth=1.3 if own else 0.7,
            marker="o" if own else "",
            markersize=2.5,
            zorder=3 if own else 2,
        )
    style.length_axis(axes, sorted({row.case["length"] for row in rows}))
    style.log_axis(axes)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelbottom=True, labelleft=True)
    style.panel(axes, f"{family}: {kind.title}, {kind.unit}")


def _name(axes: Axes, lines: dict[str, list[tuple[int, float]]], family: str) -> None:
    """Names to the right of the axes, in the order of the lines' ends, each tied to its own."""
    ends = sorted(((points[-1], name) for name, points in lines.items()), key=lambda x: x[0][1])
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = [float(to_axes.transform(point)[1]) for point, _ in ends]
    # Of a line of text in parts of the axes.
    step = 7.6 / (axes.get_window_extent().height * 72 / axes.figure.dpi)
    for (point, name), height in zip(ends, _spread(heights, step), strict=True):
        axes.annotate(
            name,
            xy=point,
            xytext=(1.04, height),
            textcoords="axes fraction",
            fontsize=6.5,
            color=style.INK,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": _COLORS[family],
                "linewidth": 0.5,
                "alpha": 0.6,
                "shrinkA": 0,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def _spread(heights: list[float], step: float) -> list[float]:
    """Ascending heights, moved apart to at least `step`, near where they were, and below 1."""
    groups = [[height] for height in heights]
    at = list(heights)
    while True:
        close = (
            n
            for n in range(len(at) - 1)
            if at[n + 1] - at[n] < step * (len(groups[n]) + len(groups[n + 1])) / 2
        )
        first = next(close, None)
        if first is None:
            break
        groups[first] += groups.pop(first + 1)
        at.pop(first + 1)
        at[first] = sum(groups[first]) / len(groups[first])
    spread = [
        center + step * (place - (len(group) - 1) / 2)
        for group, center in zip(groups, at, strict=True)
        for place in range(len(group))
    ]
    return [min(x, 1 - step * (len(spread) - 1 - n)) for n, x in enumerate(spread)]
