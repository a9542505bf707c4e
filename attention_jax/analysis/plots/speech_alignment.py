"""Attention of a speech model under the spectrogram, on one axis of time."""

from collections.abc import Sequence
from os import PathLike

import numpy as np
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attention_jax.analysis.plots import style
from attention_jax.core import checks, plain_types
from attention_jax.core.plain_types import typed_calls

_NOTE = (
    "Weights: white 0, dark blue the largest of the panel, which its title says; equal weights: "
    "{:.3f}. Spectrogram: log power, dark low, yellow high."
)


@typed_calls
def alignment(
    frames: Float[np.ndarray | Array, "s f"],
    weights: Float[np.ndarray | Array, "l h t k"],
    tokens: Sequence[str],
    path: str | PathLike[str] | None = None,
    *,
    frames_per_position: int,
    seconds_per_frame: float,
    title: str = "",
) -> Figure:
    """A spectrogram, and below it the attention of each token: mean of the heads, and sharpest.

    The first panel of weights is the mean over layers and heads; the second, where there are more
    heads than one, the head with the largest weights.

    Args:
      frames: of the recording, without padding.
      weights: of each position in each token.
      tokens: what was written, downwards.
      path: the file to write, whose suffix names the format; None for none.
      frames_per_position: how many frames a position stands for.
      seconds_per_frame: from one frame to the next.
      title: above all.

    Raises:
      ValueError: `weights` fits neither the tokens nor the frames.
    """
    checks.positive("frames_per_position", frames_per_position)
    checks.above_zero("seconds_per_frame", seconds_per_frame)
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
    size = max(6.0, 2.2 * seconds + 2.0), 1.8 + (height + 0.5) * len(shown)
    heights = [1.4, *[height] * len(shown)]
    figure, grid = style.figure(1 + len(shown), 1, size=size, share_x=True, heights=heights)
    sound, *panels = grid[:, 0]
    _draw_sound(sound, frames, seconds)
    end = positions * frames_per_position * seconds_per_frame
    for panel, (name, own) in zip(panels, shown, strict=True):
        panel.imshow(own, aspect="auto", cmap="Blues", vmin=0, extent=(0, end, len(tokens), 0))
        _style(panel, f"{name}: 0 to {own.max():.2f}")
        _write_tokens(panel, tokens)
    panels[-1].set_xlabel("seconds", color=style.INK)
    style.headline(figure, title)
    style.note(figure, _NOTE.format(1 / positions))
    return style.saved(figure, path)


@typed_calls
def spectrogram(
    frames: Float[np.ndarray | Array, "s f"], *, width: int = 720, height: int = 160
) -> bytes:
    """A PNG of a spectrogram alone: time from left to right, low bands below.

    Args:
      frames: of the recording, without padding.
      width, height: the most pixels; where there are more frames or bands, one for each.
    """
    plain_types.sizes(width=width, height=height)
    bands = np.asarray(frames).T
    down, across = (max(1, n // have) for n, have in zip((height, width), bands.shape, strict=True))
    large = bands.repeat(down, axis=0).repeat(across, axis=1)
    return style.image_png(large, cmap="magma", origin="lower")


def _draw_sound(panel: Axes, frames: np.ndarray, seconds: float) -> None:
    extent = (0, seconds, 0, frames.shape[1])
    panel.imshow(frames.T, origin="lower", aspect="auto", cmap="magma", extent=extent)
    panel.set_ylabel("mel band", color=style.INK)
    _style(panel, "spectrogram")
    panel.set_xlim(0, seconds)


def _style(panel: Axes, title: str) -> None:
    panel.set_title(title, loc="left", fontsize=style.TEXT_POINTS + 1, color=style.INK)
    panel.tick_params(colors=style.FAINT, labelsize=style.TEXT_POINTS)


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
