"""One look for all figures: sizes, colors, panels and files.

    figure, panels = style.figure(1, 2)
    panels[0, 0].plot(steps, losses, color=style.COLORS[0], label="training")
    style.panel(panels[0, 0], "loss")
    style.legend(panels[0, 0])
    style.save(figure, "loss.png")

Figures are Matplotlib's `Figure`, without pyplot: no window, no global state. As the last value of
a notebook's cell they are drawn. Functions that draw take a path, or None, and return their figure.
"""

import io
import os
import textwrap
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Shaped
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import FuncFormatter, NullLocator

from attention_jax.core import plain_types
from attention_jax.core.plain_types import typed_calls

# The palette of Okabe and Ito, which color-blind readers tell apart; gray in place of its yellow.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
MARKERS = "os^vDP<>"  # beside the colors, so that a figure also reads in gray
INK, FAINT, GRID = "#222222", "#777777", "#e6e6e6"
TITLE_POINTS, TEXT_POINTS, SMALL_POINTS = 11, 9, 8
PIXELS_PER_INCH = 120

Share = bool | Literal["row", "col"]


class Drawing(Figure):
    """A figure that a notebook draws where it is the last value of a cell."""

    def _repr_png_(self) -> bytes:
        return png(self)


class Theme(NamedTuple):
    """Colors of a figure on one ground.

    Attributes:
      ground: behind everything.
      ink: of text and axes.
      grid: of lines behind the data.
      colors: of series, in order.
    """

    ground: str
    ink: str
    grid: str
    colors: tuple[str, ...]


LIGHT = Theme("#ffffff", INK, GRID, COLORS)
DARK = Theme(
    "#191d23",
    "#e4e8ed",
    "#39414c",
    ("#56b4e9", "#ff8c42", "#3fcf9f", "#e79cc9", "#e6c34a", "#b392e0", "#ffffff", "#a0a9b4"),
)


@typed_calls
def figure(
    rows: int = 1,
    columns: int = 1,
    *,
    size: tuple[float, float] | None = None,
    share_x: Share = False,
    share_y: Share = False,
    heights: Sequence[float] | None = None,
    widths: Sequence[float] | None = None,
    theme: Theme = LIGHT,
) -> tuple[Figure, np.ndarray]:
    """A figure and its panels [rows columns], laid out so that no text overlaps.

    Args:
      rows, columns: of the grid.
      size: width and height of the figure in inches; None for panels of the usual size.
      share_x, share_y: which panels have one axis in common, as in `Figure.subplots`.
      heights, widths: of the rows and columns, relative to each other.
      theme: colors, as `panel` should be given too.
    """
    plain_types.sizes(rows=rows, columns=columns)
    width, height = size or (4.6 * columns, 3.4 * rows)
    made = Drawing((width, height), facecolor=theme.ground, layout="constrained")
    shares: dict[str, Any] = {"sharex": share_x, "sharey": share_y}
    ratios: dict[str, Any] = {"height_ratios": heights, "width_ratios": widths}
    return made, made.subplots(rows, columns, squeeze=False, **shares, **ratios)


@typed_calls
def panel(axes: Axes, title: str = "", *, theme: Theme = LIGHT) -> None:
    """Style a panel of lines or points: title on the left, grid, two axes.

    Call it after plotting, since limits follow what is drawn.
    """
    axes.set_title(title, loc="left", fontsize=TITLE_POINTS, color=theme.ink).set_parse_math(False)
    axes.set_facecolor(theme.ground)
    axes.grid(color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(which="both", colors=theme.ink, labelsize=TEXT_POINTS)
    axes.xaxis.label.set(color=theme.ink, fontsize=TEXT_POINTS + 1)
    axes.yaxis.label.set(color=theme.ink, fontsize=TEXT_POINTS + 1)
    axes.margins(x=0.03, y=0.08)


@typed_calls
def image_panel(axes: Axes, title: str = "") -> None:
    """Style a panel that shows an image: a small title, neither ticks nor frame."""
    axes.set_title(title, fontsize=SMALL_POINTS, color=INK).set_parse_math(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


@typed_calls
def length_axis(axes: Axes, lengths: Sequence[int]) -> None:
    """Scale the horizontal axis by powers of two, with a tick at each of `lengths`."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(lengths), [f"{length:,}" for length in sorted(lengths)])
    axes.xaxis.set_minor_locator(NullLocator())


@typed_calls
def log_axis(axes: Axes, *, base: int = 10) -> None:
    """Scale the vertical axis by powers, with plain numbers at its ticks."""

    def between(value: float, _: object) -> str:
        """A name at as many ticks between powers of ten as there is room for."""
        low, high = axes.get_ylim()
        digits = "25" if high > 10 * low else "23456789"
        return f"{value:,.10g}" if f"{value:e}"[0] in digits else ""

    if base < 2:
        raise ValueError(f"`base` must be at least 2, as the base of powers; got {base}.")
    axes.set_yscale("log", base=base)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(between))


@typed_calls
def line(number: int) -> dict[str, str | int]:
    """The look of a line, by its number: where colors begin again, they meet other markers."""
    at = number + number // len(COLORS)
    color, marker = COLORS[number % len(COLORS)], MARKERS[at % len(MARKERS)]
    return {"color": color, "marker": marker, "markersize": 4}


@typed_calls
def legend(axes: Axes, *, theme: Theme = LIGHT) -> None:
    """Add a legend without a frame, where anything has a label."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=TEXT_POINTS, labelcolor=theme.ink)


@typed_calls
def legend_beside(axes: Axes, *, theme: Theme = LIGHT) -> None:
    """Add a legend to the right of a panel, for more lines than leave room inside."""
    legend(axes, theme=theme)
    if found := axes.get_legend():
        found.set(loc="upper left", bbox_to_anchor=(1.0, 1.0))


@typed_calls
def headline(figure: Figure, text: str) -> None:
    """Write `text` above all panels, in as many lines as the width asks for; nothing if empty."""
    if text:
        letters = max(30, int(figure.get_figwidth() * 11))
        lines = [part for line in text.splitlines() for part in textwrap.wrap(line, letters)]
        title = figure.suptitle("\n".join(lines), fontsize=TEXT_POINTS + 1, color=INK)
        title.set_parse_math(False)


@typed_calls
def wrapped(text: str, letters: int) -> str:
    """Text in lines of so many letters at most; its own line breaks stay."""
    plain_types.sizes(letters=letters)
    return "\n".join(
        part for line in text.splitlines() for part in textwrap.wrap(line, letters) or [""]
    )


@typed_calls
def saved(figure: Figure, path: str | PathLike[str] | None) -> Figure:
    """The figure, written where there is a path."""
    if path is not None:
        save(figure, path)
    return figure


@typed_calls
def note(figure: Figure, text: str, *, theme: Theme = LIGHT) -> None:
    """Write below all panels what their marks and colors mean, in as many lines as it takes."""
    lines = wrapped(text, max(30, int(figure.get_figwidth() * 13)))
    figure.supxlabel(lines, fontsize=SMALL_POINTS, color=theme.ink)


@typed_calls
def save(figure: Figure, path: str | PathLike[str]) -> None:
    """Write a figure, cut to what is drawn; the suffix of `path` names the format.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: the suffix names no format that Matplotlib writes.
    """
    folder, known = Path(path).parent, figure.canvas.get_supported_filetypes()
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"`path` must be in a folder that is there; {folder} is not.")
    suffix = Path(path).suffix.removeprefix(".").lower()
    if suffix and suffix not in known:
        raise ValueError(
            f"`path` must end in a format of figures ({', '.join(sorted(known))}); got {path}."
        )
    figure.savefig(path, **_options(figure))


@typed_calls
def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", **_options(figure))
    return buffer.getvalue()


@typed_calls
def image_png(
    pixels: Shaped[np.ndarray, "y x ..."],
    *,
    cmap: str | None = None,
    origin: Literal["upper", "lower"] = "upper",
) -> bytes:
    """An array as the bytes of a PNG file, one pixel for each entry."""
    if cmap is not None and cmap not in colormaps:
        raise ValueError(
            f"`cmap` must be a color map of Matplotlib, such as 'magma'; got {cmap!r}. "
            "`matplotlib.colormaps` lists them."
        )
    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png", cmap=cmap, origin=origin)
    return buffer.getvalue()


def _options(figure: Figure) -> dict[str, Any]:
    ground = figure.get_facecolor()
    return {"dpi": PIXELS_PER_INCH, "facecolor": ground, "bbox_inches": "tight"}
