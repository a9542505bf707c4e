"""Plots of a run: attention heatmaps and learning curves.

run_plots.attention_heatmap(weights, source_tokens, target_tokens, "attention.png")
run_plots.curves(folder / "metrics.jsonl", folder / "curves.png")
"""

import json
import math
import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from attention_jax.analysis.plots import style
from attention_jax.core.plain_types import typed_calls

_CELL_INCHES = 0.18
_ROUNDING = 1e-3
_SPLITS = {"train": ("training", style.COLORS[0]), "validation": ("validation", style.COLORS[1])}
_PANELS = {
    "loss": "loss (nats)",
    "accuracy": "accuracy (%)",
    "bleu": "BLEU",
    "exact_match": "exact match (%)",
    "cer": "character error rate (%)",
    "wer": "word error rate (%)",
}
_MEASURES = tuple(_PANELS)
_PANELS |= {"learning_rate": "learning rate"}


_SHARES = {"accuracy", "exact_match"}  # of 1 in the metrics; drawn in percent, as tables have them


@typed_calls
def attention_heatmap(
    weights: Float[np.ndarray | Array, "... t s"],
    source_tokens: Sequence[str],
    target_tokens: Sequence[str],
    path: str | PathLike[str] | None = None,
    *,
    title: str = "",
) -> Figure:
    """Heatmaps of attention weights, target tokens by source tokens, a panel for each head.

    Rows of panels are layers and columns are heads; all share one color scale, from 0 to 1, on
    which equal weights are marked. Where a weight is below 0 or above 1 the scale goes as far.
    The word marks `▁` and `Ġ` of subword tokenizers are left out; a token that is only a space
    shows as `␣`.

    Args:
      weights: [l h t s]; [h t s] for a single layer, [t s] for a single head.
      source_tokens: the s tokens that are looked at, along the horizontal axis.
      target_tokens: the t tokens that look, downwards.
      path: the file to write, whose suffix names the format; None for none.
      title: shown above all panels.

    Raises:
      ValueError: `weights` does not fit the tokens, is empty, or is not finite.
    """
    numbers = _checked_weights(weights, len(target_tokens), len(source_tokens))
    layers, heads = numbers.shape[:2]
    width, height = (max(8, len(x)) * _CELL_INCHES for x in (source_tokens, target_tokens))
    # Room for the tokens, the titles and the color bar comes on top.
    size = heads * (width + 0.25) + 2.2, layers * (height + 0.35) + 1.6
    figure, panels = style.figure(layers, heads, size=size, share_x=True, share_y=True)
    # Rounding takes weights a little below 0 and above 1.
    low, high = (min(0.0, numbers.min()), max(1.0, numbers.max()))
    low, high = (0.0 if low > -_ROUNDING else low), (1.0 if high < 1 + _ROUNDING else high)
    for layer, head in np.ndindex(layers, heads):
        panel = panels[layer, head]
        image = panel.imshow(numbers[layer, head], cmap="Blues", vmin=low, vmax=high, aspect="auto")
        name = ", ".join((f"layer {layer + 1}", f"head {head + 1}")[4 - np.ndim(weights) :])
        panel.set_title(name, fontsize=style.TEXT_POINTS, color=style.INK)
        _draw_cells(panel, *numbers.shape[2:])
    _write_tokens(panels, source_tokens, target_tokens)
    bar = figure.colorbar(image, ax=panels, fraction=0.05, pad=0.01, aspect=25)
    bar.set_label("attention weight", fontsize=style.TEXT_POINTS, color=style.INK)
    bar.ax.tick_params(labelsize=style.SMALL_POINTS, color=style.FAINT)
    bar.outline.set_visible(False)
    equal = 1 / numbers.shape[-1]
    bar.ax.axhline(equal, color=style.COLORS[1], linewidth=1.5)
    style.note(figure, f"Orange mark: equal weights, {equal:.3f}; largest: {numbers.max():.3f}")
    style.headline(figure, title)
    return style.saved(figure, path)


@typed_calls
def curves(
    metrics_jsonl_path: str | PathLike[str],
    path: str | PathLike[str] | None = None,
    *,
    title: str = "",
) -> Figure:
    """Learning curves: loss, accuracy, other metrics and learning rate against a run's steps.

    The step of the lowest validation loss is marked in each panel, and named. A metric that no row
    has gets no panel, and rows without a metric are skipped, as is a last line that is still being
    written.

    Args:
      metrics_jsonl_path: one JSON object a line, with `step`, `split` (train or validation) and
        any of `loss`, `accuracy`, `bleu`, `exact_match`, `cer`, `wer` and `learning_rate`.
      path: the file to write, whose suffix names the format; None for none.
      title: shown above all panels.

    Raises:
      ValueError: a line is no such object, or no row has a metric to draw.
    """
    series = _read_series(Path(metrics_jsonl_path))
    names = [name for name in _PANELS if any(name == measure for _, measure in series)]
    if not set(names) - {"learning_rate"}:
        raise ValueError(
            f"`metrics_jsonl_path` must hold rows with one of {', '.join(_MEASURES)}; "
            f"got none in {metrics_jsonl_path}. Train for at least one logged step first."
        )
    columns = min(len(names), 2)
    rows = -(-len(names) // columns)
    figure, grid = style.figure(rows, columns, share_x=True)
    panels = grid.ravel()
    losses = series.get(("validation", "loss"), [])
    best = min(losses, key=lambda point: point[1])[0] if losses else None
    for panel, name in zip(panels, names, strict=False):
        _draw_curves(panel, {split: series.get((split, name), []) for split in _SPLITS})
        style.panel(panel, _PANELS[name])
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        _limit(panel, name)
        if name != "learning_rate":
            style.legend(panel)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    for panel in panels[max(0, len(names) - columns) : len(names)]:
        panel.set_xlabel("step")
        panel.tick_params(labelbottom=True)
    _mark(figure, panels[: len(names)], best)
    style.headline(figure, title)
    return style.saved(figure, path)


def _mark(figure: Figure, panels: np.ndarray, best: int | None) -> None:
    """A line at the best step, where there is one, and a note on it."""
    if best is None:
        return
    for panel in panels:
        panel.axvline(best, color=style.INK, linestyle=":", linewidth=1.2, zorder=1)
    style.note(figure, f"Dotted: step {best:,}, of the lowest validation loss")


def _limit(panel: Axes, name: str) -> None:
    """The whole range of a share; others begin at 0."""
    if name in (*_SHARES, "bleu"):
        panel.set_ylim(-3, 103)
    else:
        panel.set_ylim(bottom=0)


def _draw_curves(panel: Axes, points_of: dict[str, list[tuple[int, float]]]) -> None:
    for split, points in points_of.items():
        label, color = _SPLITS[split]
        if points:
            # A lone point has no line: a mark shows it, as it shows each validation.
            mark = "o" if split == "validation" or len(points) == 1 else ""
            line: dict[str, Any] = {"color": color, "marker": mark, "markersize": 4}
            panel.plot(*zip(*points, strict=True), label=label, linewidth=1.6, **line)


def _checked_weights(weights: ArrayLike, t: int, s: int) -> np.ndarray:
    """The weights as [l h t s] in float32."""
    shape = np.shape(weights)
    if len(shape) not in (2, 3, 4) or shape[-2:] != (t, s):
        raise ValueError(
            f"`weights` must have shape [t s], [h t s] or [l h t s] with t={t} target tokens and "
            f"s={s} source tokens; got {shape}. Cut off padding and name every token."
        )
    if 0 in shape:
        raise ValueError(f"`weights` must not be empty; got shape {shape}.")
    numbers = np.asarray(weights).astype(np.float32)
    if not np.isfinite(numbers).all():
        bad = np.argwhere(~np.isfinite(numbers))
        raise ValueError(
            f"`weights` must be finite; got {numbers[tuple(bad[0])]} at {bad[0].tolist()}, "
            f"{len(bad)} such in all. Give weights after the normalizer, not masked scores."
        )
    return numbers.reshape(*(1,) * (4 - len(shape)), *shape)


def _draw_cells(panel: Axes, t: int, s: int) -> None:
    """Thin white lines between the cells, and no frame."""
    panel.set_xticks(np.arange(s - 1) + 0.5, minor=True)
    panel.set_yticks(np.arange(t - 1) + 0.5, minor=True)
    panel.grid(which="minor", color="white", linewidth=0.6)
    panel.tick_params(which="both", length=0)
    panel.spines[:].set(color="#cccccc", linewidth=0.6)


def _write_tokens(panels: np.ndarray, source: Sequence[str], target: Sequence[str]) -> None:
    """Source tokens below the last layer, target tokens beside the first head."""
    columns, rows = [_shown(token) for token in source], [_shown(token) for token in target]
    panels[0, 0].set_xticks(range(len(columns)), columns)
    panels[0, 0].set_yticks(range(len(rows)), rows)
    upright = max(map(len, columns)) <= 2
    for panel in panels[-1]:
        _style_texts(panel.get_xticklabels(), rotation=0 if upright else 90)
        panel.set_xlabel("source", fontsize=style.SMALL_POINTS, color=style.FAINT)
    for panel in panels[:, 0]:
        _style_texts(panel.get_yticklabels())
        panel.set_ylabel("target", fontsize=style.SMALL_POINTS, color=style.FAINT)


def _style_texts(texts: Sequence[Text], rotation: int = 0) -> None:
    for text in texts:
        text.set(fontsize=style.SMALL_POINTS, color=style.INK, rotation=rotation)
        text.set_parse_math(False)  # a token may hold dollar signs


def _shown(token: str) -> str:
    """A token as it reads, without the word marks of its tokenizer."""
    return token.replace("▁", " ").replace("Ġ", " ").strip() or "␣"


def _read_series(path: Path) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """(split, metric) -> its (step, value) pairs, in order of steps."""
    series: dict[tuple[str, str], list[tuple[int, float]]] = {}
    if not os.path.isfile(path):
        raise FileNotFoundError(f"`metrics_jsonl_path` must name a file; {path} does not exist.")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if not line.endswith("\n"):
            break
        try:
            row = json.loads(line)
            step, split = row["step"], row["split"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"every line of `metrics_jsonl_path` must be a JSON object with step and split; "
                f"got {line.strip()[:80]!r} in line {number} of {path}."
            ) from error
        for name in _PANELS:
            value = row.get(name)
            if isinstance(value, (int, float)) and math.isfinite(value):
                drawn = 100 * value if name in _SHARES else value
                series.setdefault((split, name), []).append((step, drawn))
    return {key: sorted(points) for key, points in series.items() if key[0] in _SPLITS}
