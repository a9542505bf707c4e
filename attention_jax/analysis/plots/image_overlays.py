"""Attention and occlusion maps, drawn over their images.

image_overlays.overview(images, titles, {"rollout": weights}, lost, "attention.png")
image_overlays.heads(image, weights, "heads_1.png", names=["layer 1", "layer 2", "pooling"])
image_overlays.enlarged(image)          # the image alone, as the bytes of a PNG
"""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attention_jax.analysis.plots import style
from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls

STAR = "* The output of some head is not the sum of values by its weights: they mean nothing."
OF_WEIGHTS = "Weights: dark 0, yellow the largest of the panel."
OF_OVERVIEW = (
    f"{OF_WEIGHTS} Occlusion: red speaks for the answer, blue against it; framed: at least half as "
    "much as the first."
)
_INCHES, _OPACITY = 1.5, 0.6


@typed_calls
def overview(
    images: UInt8[np.ndarray, "n y x c"],
    titles: Sequence[str],
    weights: Mapping[str, Float[np.ndarray, "n rows columns"]],
    lost: Float[np.ndarray, "n rows columns"],
    path: str | PathLike[str] | None = None,
) -> Figure:
    """One column for each image: the image, its attention maps, its occlusion map.

    Weights are shown from 0 to the largest of their image. In the occlusion map, red patches speak
    for the answer and blue ones against it; frames are around those that count at least half as
    much as the first.

    Args:
      images: from 0 to 255.
      titles: what is written above each.
      weights: by what is written beside their row; there may be none. What a star after it
        means is written below.
      lost: as `image_attribution.occlusion` gives it.
      path: the file to write, whose suffix names the format; None for none.
    """
    rows = 2 + len(weights)
    size = len(images) * _INCHES + 0.6, rows * (_INCHES + 0.1) + 0.4
    figure, panels = style.figure(rows, len(images), size=size)
    for panel, name in zip(panels[:, 0], ("image", *weights, "occlusion"), strict=True):
        panel.set_ylabel(name, fontsize=style.SMALL_POINTS, color=style.INK)
    for column, (image, title) in enumerate(zip(images, titles, strict=True)):
        _draw_image(panels[0, column], image, title)
        for row, maps in enumerate(weights.values(), 1):
            _draw_image(panels[row, column], image)
            _lay_over(panels[row, column], maps[column], image)
        _draw_image(panels[-1, column], image)
        _lay_over(panels[-1, column], lost[column], image, diverging=True)
        _frame(panels[-1, column], lost[column], image)
    _explain(figure, weights, OF_OVERVIEW)
    return style.saved(figure, path)


@typed_calls
def heads(
    image: UInt8[np.ndarray, "y x c"],
    weights: Float[np.ndarray, "l h rows columns"],
    path: str | PathLike[str] | None = None,
    *,
    names: Sequence[str],
    title: str = "",
) -> Figure:
    """Attention maps over an image, one row for each layer and one column for each head.

    Args:
      image: from 0 to 255.
      weights: as `image_attribution.heads` gives them.
      path: the file to write, whose suffix names the format; None for none.
      names: of the layers. What a star after one means is written below.
      title: shown above all.
    """
    rows, columns = weights.shape[:2]
    size = columns * _INCHES + 0.6, rows * (_INCHES + 0.25) + 0.5
    figure, panels = style.figure(rows, columns, size=size)
    for layer, head in np.ndindex(rows, columns):
        panel = panels[layer, head]
        _draw_image(panel, image, f"{names[layer]}, head {head + 1}")
        _lay_over(panel, weights[layer, head], image)
    style.headline(figure, title)
    _explain(figure, names, OF_WEIGHTS)
    return style.saved(figure, path)


@typed_calls
def enlarged(image: UInt8[np.ndarray, "y x c"], *, side: int = 280) -> bytes:
    """A PNG of an image, enlarged by a whole factor, so that its pixels stay squares.

    Args:
      image: from 0 to 255.
      side: the most pixels each way; an image that has more stays as it is.
    """
    checks.positive("side", side)
    times = max(1, side // max(image.shape[:2]))
    large = image.repeat(times, axis=0).repeat(times, axis=1)
    return style.image_png(np.broadcast_to(large, (*large.shape[:2], 3)))


def _explain(figure: Figure, names: Iterable[str], text: str) -> None:
    """Explain colors and frames below the panels, and the star, where there is one."""
    star = f"\n{STAR}" if any(name.endswith("*") for name in names) else ""
    style.note(figure, text + star)


def _draw_image(panel: Axes, image: np.ndarray, title: str = "") -> None:
    gray = image.shape[-1] == 1
    shown = image[..., 0] if gray else image
    panel.imshow(shown, cmap="gray" if gray else None, vmin=0, vmax=255)
    style.image_panel(panel, title)


def _lay_over(
    panel: Axes, weights: np.ndarray, image: np.ndarray, *, diverging: bool = False
) -> None:
    """Color each patch by its weight: from 0, or as far above 0 as below it."""
    high = np.abs(weights).max() if diverging else weights.max()
    low = -high if diverging else min(0.0, weights.min())
    panel.imshow(
        weights,
        cmap="RdBu_r" if diverging else "viridis",
        vmin=low,
        vmax=high if high > low else low + 1,
        alpha=_OPACITY,
        extent=(-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5),
        interpolation="nearest",
    )


def _frame(panel: Axes, lost: np.ndarray, image: np.ndarray) -> None:
    """A frame around each patch that counts at least half as much as the first."""
    height, width = image.shape[0] / lost.shape[0], image.shape[1] / lost.shape[1]
    for row, column in np.argwhere((lost > 0) & (lost >= lost.max() / 2)):
        corner = (column * width - 0.5, row * height - 0.5)
        panel.add_patch(
            Rectangle(corner, width, height, fill=False, edgecolor=style.COLORS[1], linewidth=1.2)
        )
