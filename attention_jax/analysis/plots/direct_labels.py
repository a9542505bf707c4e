"""Names beside what they name, in place of a legend.

    direct_labels.name_lines(axes, {"GRU": (450, 98.5)}, {"GRU": "#0072b2"})
    direct_labels.name_points(axes, {"GRU": (30.1, 98.5)}, {"GRU": "#0072b2"})

Call them after all else is drawn: names are placed by where the panel and its limits are.
"""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from attention_jax.analysis.plots import style
from attention_jax.analysis.plots.style import Theme
from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls

Point = tuple[float, float]

# Where the name of a point may stand, in points of text beside it, the first that is free.
_PLACES = (
    (8, 5, "left"),
    (8, -13, "left"),
    (-8, 5, "right"),
    (-8, -13, "right"),
    (8, 17, "left"),
    (-8, 17, "right"),
    (8, 29, "left"),
    (-8, 29, "right"),
    (8, -25, "left"),
    (-8, -25, "right"),
    (8, 41, "left"),
)


@typed_calls
def name_lines(
    axes: Axes,
    ends: Mapping[str, Point],
    colors: Mapping[str, str],
    *,
    theme: Theme = style.LIGHT,
    points: float = 8.5,
) -> None:
    """Write names to the right of a panel, each beside the end of its line and tied to it.

    They stand in the order of the ends, moved apart as far as they need.

    Args:
      axes: the panel, with all its lines.
      ends: of each line by its name, in the units of the axes.
      colors: of each line.
      theme: colors of the figure.
      points: size of the text.
    """
    checks.above_zero("points", points)
    if not ends:
        return
    _laid_out(axes)
    order = sorted(ends, key=lambda name: ends[name][1])
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = [float(to_axes.transform(ends[name])[1]) for name in order]
    step = 1.25 * points / (axes.get_window_extent().height * 72 / _figure(axes).dpi)
    for name, height in zip(order, spread(heights, step), strict=True):
        label = axes.annotate(
            name,
            xy=ends[name],
            xytext=(1.03, height),
            textcoords="axes fraction",
            fontsize=points,
            color=theme.ink,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colors[name],
                "linewidth": 0.9,
                "alpha": 0.8,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )
        label.set_parse_math(False)


@typed_calls
def name_points(
    axes: Axes,
    at: Mapping[str, Point],
    colors: Mapping[str, str],
    *,
    theme: Theme = style.LIGHT,
    points: float = 9.0,
) -> None:
    """Write each name beside its point, where it covers no other name, no point and no edge."""
    checks.above_zero("points", points)
    _laid_out(axes)
    middles = [axes.transData.transform(point) for point in at.values()]
    taken = [_around((float(x), float(y)), 5.0) for x, y in middles]
    inside = axes.get_window_extent()
    for name, point in at.items():
        found = None
        for x, y, side in _PLACES:
            if found is not None:
                found.remove()
            found = axes.annotate(
                name,
                xy=point,
                xytext=(x, y),
                textcoords="offset points",
                ha=side,
                fontsize=points,
                color=colors[name],
                fontweight="bold",
                annotation_clip=False,
            )
            found.set_parse_math(False)
            box = found.get_window_extent()
            across = inside.x0 <= box.x0 <= box.x1 <= inside.x1 + 60
            fits = across and inside.y0 <= box.y0 <= box.y1 <= inside.y1
            if fits and not any(box.overlaps(other) for other in taken):
                break
        if found is not None:
            taken.append(found.get_window_extent())


@typed_calls
def spread(heights: list[float], step: float) -> list[float]:
    """Ascending heights, moved apart to at least `step`, near where they were, and below 1."""
    checks.above_zero("step", step)
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
    found = [
        center + step * (place - (len(group) - 1) / 2)
        for group, center in zip(groups, at, strict=True)
        for place in range(len(group))
    ]
    return [min(x, 1 - step * (len(found) - 1 - n)) for n, x in enumerate(found)]


def _figure(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None  # of a panel there is one
    return figure


def _laid_out(axes: Axes) -> None:
    """Gives the panel its place, by which names are placed."""
    _figure(axes).draw_without_rendering()


def _around(at: Point, size: float) -> Bbox:
    x, y = at
    return Bbox.from_extents(x - size, y - size, x + size, y + size)
