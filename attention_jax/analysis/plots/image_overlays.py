"""Attention and decisive patches, drawn over the pictures that they are of.

image_pictures.overview(images, titles, {"rollout": weights}, lost, "attention.png")
image_pictures.heads(image, weights, "heads_1.png", names=["layer 1", "layer 2", "pooling"])
image_pictures.enlarged(image)          # the picture alone, as the bytes of a PNG
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.patches import Rectangle

STAR = "* Some head's output is not\nmade by its weights:\nthey mean nothing."
_INCHES, _LETTER_POINTS, _PIXELS_PER_INCH = 1.5, 8, 120
_INK, _FRAME = "#222222", "#d55e00"
_OPACITY = 0.6


def overview(
    images: UInt8[np.ndarray, "n y x c"],
    titles: Sequence[str],
    weights: Mapping[str, Float[np.ndarray, "n rows columns"]],
    lost: Float[np.ndarray, "n rows columns"],
    path: str | PathLike[str],
) -> None:
    """A column for each picture: itself, where the model looks, and the patches that decided.

    Weights are shown from 0 to the largest of their picture. Of the patches that decided, red ones
    spoke for the answer and blue ones against it; the frame is around those that count at least
    half as much as the first.

    Args:
      images: from 0 to 255.
      titles: what is written above each.
      weights: by what is written beside their row; there may be none. What a star after it
        means is written below.
      lost: as `image_attribution.occlusion` gives it.
      path: the picture to write; its suffix names the format.
    """
    rows = 2 + len(weights)
    figure = Figure((len(images) * _INCHES + 0.6, rows * (_INCHES + 0.1) + 0.4))
    figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.04)
    panels = figure.subplots(rows, len(images), squeeze=False)
    for panel, name in zip(panels[:, 0], ("image", *weights, "what decided"), strict=True):
        panel.set_ylabel(name, fontsize=_LETTER_POINTS, color=_INK)
    for column, (image, title) in enumerate(zip(images, titles, strict=True)):
        _draw_image(panels[0, column], image, title)
        for row, maps in enumerate(weights.values(), 1):
            _draw_image(panels[row, column], image)
            _lay_over(panels[row, column], maps[column], image, "viridis", (0, maps[column].max()))
        _draw_image(panels[-1, column], image)
        most = np.abs(lost[column]).max()
        _lay_over(panels[-1, column], lost[column], image, "RdBu_r", (-most, most))
        _frame(panels[-1, column], lost[column], image)
    _explain(figure, weights)
    _save(figure, path)


def heads(
    image: UInt8[np.ndarray, "y x c"],
    weights: Float[np.ndarray, "l h rows columns"],
    path: str | PathLike[str],
    *,
    names: Sequence[str],
    title: str = "",
) -> None:
    """A row for each layer and a column for each head, over the picture that they read.

    Args:
      image: from 0 to 255.
      weights: as `image_attribution.heads` gives them.
      path: the picture to write; its suffix names the format.
      names: of the layers. What a star after one means is written below.
      title: shown above all.
    """
    rows, columns = weights.shape[:2]
    figure = Figure((columns * _INCHES + 0.6, rows * (_INCHES + 0.25) + 0.5))
    figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.04)
    panels = figure.subplots(rows, columns, squeeze=False)
    for layer, head in np.ndindex(rows, columns):
        own = weights[layer, head]
        panel = panels[layer, head]
        _draw_image(panel, image, f"{names[layer]}, head {head + 1}")
        _lay_over(panel, own, image, "viridis", (min(0.0, own.min()), own.max()))
    if title:
        figure.suptitle(title, fontsize=_LETTER_POINTS + 2, color=_INK)
    _explain(figure, names)
    _save(figure, path)


def enlarged(image: UInt8[np.ndarray, "y x c"], *, side: int = 280) -> bytes:
    """A PNG of a picture, enlarged a whole number of times, so that its pixels stay squares.

    Args:
      image: from 0 to 255.
      side: the most pixels each way; a picture that has more stays as it is.
    """
    times = max(1, side // max(image.shape[:2]))
    large = image.repeat(times, axis=0).repeat(times, axis=1)
    buffer = io.BytesIO()
    imsave(buffer, np.broadcast_to(large, (*large.shape[:2], 3)), format="png")
    return buffer.getvalue()


def _explain(figure: Figure, names: Iterable[str]) -> None:
    """Says what a star means, where there is one."""
    if any(name.endswith("*") for name in names):
        figure.supxlabel(STAR, fontsize=_LETTER_POINTS, color=_INK)


def _draw_image(panel: Axes, image: np.ndarray, title: str = "") -> None:
    grey = image.shape[-1] == 1
    shown = image[..., 0] if grey else image
    panel.imshow(shown, cmap="gray" if grey else None, vmin=0, vmax=255)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_visible(False)
    panel.set_title(title, fontsize=_LETTER_POINTS, color=_INK).set_parse_math(False)


def _lay_over(
    panel: Axes, weights: np.ndarray, image: np.ndarray, colours: str, bounds: tuple[Any, Any]
) -> None:
    """Colours each patch by its weight."""
    low, high = bounds
    panel.imshow(
        weights,
        cmap=colours,
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
            Rectangle(corner, width, height, fill=False, edgecolor=_FRAME, linewidth=1.2)
        )


def _save(figure: Figure, path: str | PathLike[str]) -> None:
    figure.savefig(path, dpi=_PIXELS_PER_INCH, facecolor="white", bbox_inches="tight")
