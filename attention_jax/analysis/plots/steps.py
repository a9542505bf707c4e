"""Drawn steps of one call of attention: scores, visible pairs, weights, output."""

import numpy as np
from jaxtyping import Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attention_jax.analysis.plots import style
from attention_jax.core.explanation import Explanation
from attention_jax.core.plain_types import typed_calls

MOST_TICKS = 16
MOST_NUMBERS = 10  # of rows and columns, up to which a cell says its number


@typed_calls
def explanation(value: Explanation, *, b: int = 0, h: int = 0) -> Figure:
    """Panels of one sequence and head: rows are queries, columns keys or entries of the output.

    Hidden pairs are gray. Small panels say their numbers.

    Args:
      value: of `attention_jax.explain`.
      b, h: which sequence and head.

    Raises:
      ValueError: there is no such sequence or head, or nothing to draw.
    """
    own = value.at(b, h)
    if not own.scores.size or not own.output.size:
        raise ValueError(
            f"`value` must hold a query, a key and an output; got scores {own.scores.shape} and "
            f"output {own.output.shape}."
        )
    rows, keys = (list(map(str, x)) for x in (own.query_positions, own.key_positions))
    entries = list(map(str, range(own.output.shape[1])))
    changed = not np.array_equal(own.plain_scores, own.scores, equal_nan=True)
    panels = [("scores before score_mod", own.plain_scores, keys)] if changed else []
    panels += [("scores", own.scores, keys), ("visible", own.visible, keys)]
    panels += [("weights", own.weights, keys), ("output", own.output, entries)]
    figure, places = style.figure(1, len(panels), size=(2.9 * len(panels), 3.1))
    for axes, (title, numbers, columns) in zip(places[0], panels, strict=True):
        hidden = None if title in ("visible", "output") else ~own.visible
        _draw(axes, numbers, hidden, title)
        _label(axes, rows, columns, "entry" if title == "output" else "key")
    style.headline(figure, f"sequence {b}, head {h}")
    style.note(
        figure,
        "Gray: hidden. Weights and visible: white 0, dark blue the largest; scores and output: "
        "blue below 0, red above, as far as the largest.",
    )
    return figure


def _draw(
    axes: Axes, numbers: Shaped[np.ndarray, "t n"], hidden: np.ndarray | None, title: str
) -> None:
    shown = numbers.astype(np.float64)
    if hidden is not None:
        shown = np.where(hidden, np.nan, shown)
    known = shown[np.isfinite(shown)]
    most = float(np.abs(known).max()) if known.size and known.any() else 1.0
    signed = title not in ("visible", "weights")
    low, cmap = (-most, "RdBu_r") if signed else (0.0, "Blues")
    axes.set_facecolor("#d9d9d9")
    axes.imshow(shown, cmap=cmap, vmin=low, vmax=most, aspect="auto", interpolation="nearest")
    if max(shown.shape) <= MOST_NUMBERS and title != "visible":
        for (i, j), x in np.ndenumerate(shown):
            # Dark cells bear white numbers.
            ink = "white" if abs(x) > 0.6 * most else style.INK
            if not np.isnan(x):
                axes.text(j, i, f"{x:.2f}", ha="center", va="center", fontsize=6, color=ink)
    style.image_panel(axes, title)


def _label(axes: Axes, rows: list[str], columns: list[str], across: str) -> None:
    """Positions at the axes, as many as there is room for."""
    for names, set_ticks in ((columns, axes.set_xticks), (rows, axes.set_yticks)):
        step = -(-len(names) // MOST_TICKS)
        set_ticks(range(0, len(names), step), names[::step])
    axes.tick_params(labelsize=style.SMALL_POINTS - 1, length=0)
    axes.set_xlabel(across, fontsize=style.SMALL_POINTS)
    axes.set_ylabel("query", fontsize=style.SMALL_POINTS)
