"""Report of the variants benchmark: lines of a table, and a figure."""

from os import PathLike

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from attention_jax.analysis.variant_info import FAMILIES
from experiments.benchmark.attention import Row
from experiments.benchmark.attention_cases import BOTH, FORWARD
from experiments.benchmark.variants import growth

_COLORS = dict(
    zip(FAMILIES, "#0072b2 #d55e00 #009e73 #7b4ea3 #b07d00 #c0397a".split(), strict=True)
)
_PANELS = (
    ("forward", FORWARD, "seconds", 1e3, "ms"),
    ("forward and backward", BOTH, "seconds", 1e3, "ms"),
    ("memory, forward and backward", BOTH, "temporary_bytes", 1e-6, "MB"),
)
_INK, _FAINT, _OTHERS, _GRID = "#222222", "#777777", "#dcdcdc", "#ececec"


def header(lengths: tuple[int, ...]) -> str:
    """The first lines of the table."""
    cells = "".join(f"{f'{length:,}':>20}" for length in sorted(lengths))
    return f"{'milliseconds / temporary MB at':<46}{cells}{'growth of time':>16}{'of memory':>11}"


def line(rows: list[Row], *, progress: str) -> str:
    """One line of a variant in one direction, from the rows of its lengths."""
    (name,) = {row["variant"] for row in rows}
    (direction,) = {row["direction"] for row in rows}
    grown = growth(rows)[name][direction]
    cells = "".join(f"{_cell(row):>20}" for row in sorted(rows, key=lambda row: row["length"]))
    own, of_memory = (
        "-" if grown[measure] is None else f"{grown[measure]:.2f}"
        for measure in ("seconds", "temporary_bytes")
    )
    return f"{progress:<8}{name:<21}{direction:<17}{cells}{own:>16}{of_memory:>11}"


def reasons(rows: list[Row]) -> list[str]:
    """Why lengths were not measured, a line each reason."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if "not_measured" in row:
            found.setdefault(row["not_measured"], []).append(f"{row['length']:,}")
    return [f"{', '.join(lengths)}: {reason}" for reason, lengths in found.items()]


def _cell(row: Row) -> str:
    if "seconds" not in row:
        return "-"
    return f"{row['seconds'] * 1e3:,.1f} / {row['temporary_bytes'] / 1e6:,.1f}"


def plot(rows: list[Row], path: str | PathLike[str]) -> None:
    """Draws time and memory against the length: a row of panels for each family of variants.

    The lines of the family are named where they end; those of the others are grey behind them.

    Args:
      path: the file to write; its suffix names the format.
    """
    families = [family for family in FAMILIES if any(row["family"] == family for row in rows)]
    counts = [len({row["variant"] for row in rows if row["family"] == x}) for x in families]
    heights = [max(2.4, 0.5 + 0.135 * count) for count in counts]
    high = 0.9 + sum(heights) + 0.5 * len(heights)
    figure = Figure((17, high))
    panels = figure.subplots(
        len(families),
        len(_PANELS),
        squeeze=False,
        sharex=True,
        sharey="col",
        gridspec_kw={
            "height_ratios": heights,
            "hspace": 0.5 * len(heights) / sum(heights),
            "wspace": 0.5,
            "left": 0.04,
            "right": 0.91,
            "bottom": 0.5 / high,
            "top": 1 - 0.4 / high,
        },
    )
    for family, row in zip(families, panels, strict=True):
        for (title, direction, measure, scale, unit), panel in zip(_PANELS, row, strict=True):
            lines = _lines(rows, direction, measure, scale)
            _dress(panel, f"{family}: {title}, {unit}", sorted({x["length"] for x in rows}))
            _draw(panel, lines, {x["variant"]: x["family"] for x in rows}, family)
    for panel in panels[-1]:
        panel.set_xlabel("length of the sequence", color=_INK)
    for family, row in zip(families, panels, strict=True):
        for (_, direction, measure, scale, _), panel in zip(_PANELS, row, strict=True):
            own = {x["variant"] for x in rows if x["family"] == family}
            lines = _lines(rows, direction, measure, scale)
            _name(panel, {name: points for name, points in lines.items() if name in own}, family)
    figure.savefig(path, dpi=110, facecolor="white")


def _lines(
    rows: list[Row], direction: str, measure: str, scale: float
) -> dict[str, list[tuple[int, float]]]:
    """Variant -> its points."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in sorted(rows, key=lambda row: row["length"]):
        if row["direction"] == direction and row.get("seconds") and row.get(measure):
            found.setdefault(row["variant"], []).append((row["length"], row[measure] * scale))
    return found


def _draw(
    panel: Axes, lines: dict[str, list[tuple[int, float]]], of: dict[str, str], family: str
) -> None:
    for name, points in lines.items():
        own = of[name] == family
        panel.plot(
            *zip(*points, strict=True),
            color=_COLORS[family] if own else _OTHERS,
            linewidth=1.3 if own else 0.7,
            marker="o" if own else "",
            markersize=2.5,
            zorder=3 if own else 2,
        )


def _name(panel: Axes, lines: dict[str, list[tuple[int, float]]], family: str) -> None:
    """Names to the right of the panel, in the order of the lines' ends, each tied to its own."""
    ends = sorted(((points[-1], name) for name, points in lines.items()), key=lambda x: x[0][1])
    to_axes = panel.transData + panel.transAxes.inverted()
    heights = [float(to_axes.transform(point)[1]) for point, _ in ends]
    # Of a line of text in parts of the panel.
    step = 7.6 / (panel.get_window_extent().height * 72 / panel.figure.dpi)
    for (point, name), height in zip(ends, _spread(heights, step), strict=True):
        panel.annotate(
            name,
            xy=point,
            xytext=(1.04, height),
            textcoords="axes fraction",
            fontsize=6.5,
            color=_INK,
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


def _dress(panel: Axes, title: str, lengths: list[int]) -> None:
    panel.set_title(title, loc="left", fontsize=9, color=_INK)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_xticks(lengths, [f"{length:,}" for length in lengths])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.grid(color=_GRID, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(_FAINT)
    panel.tick_params(colors=_INK, labelsize=8, labelbottom=True, labelleft=True)
