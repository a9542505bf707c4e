"""Pictures of what a model hears: its attention under the spectrogram, on one axis of time."""

import io
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave

_INK, _FAINT, _POINTS = "#222222", "#777777", 9


def alignment(
    frames: Float[Any, "s f"],
    weights: Float[Any, "l h t k"],
    tokens: Sequence[str],
    path: str | PathLike[str],
    *,
    frames_per_position: int,
    seconds_per_frame: float,
    title: str = "",
) -> None:
    """Draws a spectrogram, and below it where each token listens: all heads, and the sharpest.

    The first panel of weights is the mean over layers and heads; the second, where there are more
    heads than one, the head with the largest weights.

    Args:
      frames: of the recording, without padding.
      weights: of each position in each token.
      tokens: what was written, downwards.
      path: the picture to write; its suffix names the format.
      frames_per_position: how many frames a position stands for.
      seconds_per_frame: from one frame to the next.
      title: above all.

    Raises:
      ValueError: `weights` fits neither the tokens nor the frames.
    """
    frames, weights = np.asarray(frames), np.asarray(weights)
    positions = -(-len(frames) // frames_per_position)
    if weights.shape[-2:] != (len(tokens), positions) or weights.ndim != 4:
        raise ValueError(
            f"`weights` must have shape [l h t k] with t={len(tokens)} tokens and k={positions} "
            f"positions of {frames_per_position} frames; got {weights.shape}. Cut off padding."
        )
    shown = _panels(weights)
    seconds = len(frames) * seconds_per_frame
    height = max(1.6, 0.16 * len(tokens))
    figure = Figure(
        (max(6.0, 2.2 * seconds + 2.0), 1.8 + (height + 0.5) * len(shown)), layout="constrained"
    )
    panels = figure.subplots(
        1 + len(shown), 1, sharex=True, squeeze=False,
        height_ratios=[1.4, *[height] * len(shown)],
    )[:, 0]  # fmt: skip
    panels[0].imshow(
        frames.T, origin="lower", aspect="auto", cmap="magma",
        extent=(0, seconds, 0, frames.shape[1]),
    )  # fmt: skip
    panels[0].set_ylabel("mel band", color=_INK)
    end = positions * frames_per_position * seconds_per_frame
    for panel, (name, own) in zip(panels[1:], shown, strict=True):
        panel.imshow(own, aspect="auto", cmap="Blues", vmin=0, extent=(0, end, len(tokens), 0))
        panel.set_title(name, loc="left", fontsize=_POINTS + 1, color=_INK)
        _write_tokens(panel, tokens)
    panels[-1].set_xlabel("seconds", color=_INK)
    panels[0].set_xlim(0, seconds)
    for panel in panels:
        panel.tick_params(colors=_FAINT, labelsize=_POINTS)
    if title:
        figure.suptitle(title, fontsize=_POINTS + 2, color=_INK).set_parse_math(False)
    figure.savefig(path, dpi=120, facecolor="white")


def spectrogram(frames: Float[Any, "s f"], *, width: int = 720, height: int = 160) -> bytes:
    """A PNG of a spectrogram alone: time from left to right, low bands below.

    Args:
      frames: of the recording, without padding.
      width, height: the most pixels; where there are more frames or bands, one for each.
    """
    bands = np.asarray(frames).T
    down, across = (max(1, n // have) for n, have in zip((height, width), bands.shape, strict=True))
    buffer = io.BytesIO()
    large = bands.repeat(down, axis=0).repeat(across, axis=1)
    imsave(buffer, large, format="png", cmap="magma", origin="lower")
    return buffer.getvalue()


def _panels(weights: np.ndarray) -> list[tuple[str, np.ndarray]]:
    flat = weights.reshape(-1, *weights.shape[2:])
    if len(flat) == 1:
        return [("weights", flat[0])]
    sharpest = int(np.argmax(flat.max(axis=-1).mean(axis=-1)))
    layer, head = divmod(sharpest, weights.shape[1])
    return [
        (f"mean of {len(flat)} heads", flat.mean(axis=0)),
        (f"the sharpest: layer {layer + 1}, head {head + 1}", flat[sharpest]),
    ]


def _write_tokens(panel: Axes, tokens: Sequence[str]) -> None:
    names = [token.strip() or "␣" for token in tokens]
    panel.set_yticks(np.arange(len(names)) + 0.5, names)
    for label in panel.get_yticklabels():
        label.set_parse_math(False)
