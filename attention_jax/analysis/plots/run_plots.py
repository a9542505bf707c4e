"""Pictures of a run: where its heads look, and how it learned.

They are drawn on matplotlib's `Figure` itself, without pyplot: no window, no global state.

    visualize.attention_heatmap(weights, source_tokens, target_tokens, "attention.png")
    visualize.curves(folder / "metrics.jsonl", folder / "curves.png")
"""

import json
import math
import textwrap
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

_CELL_INCHES, _LETTER_POINTS, _PIXELS_PER_INCH = 0.18, 8, 120
_INK, _FAINT = "#222222", "#777777"
_SPLITS = {"train": ("training", "#0072b2"), "validation": ("validation", "#d55e00")}
_PANELS = {
    "loss": "loss",
    "accuracy": "accuracy",
    "bleu": "BLEU",
    "exact_match": "exact match",
    "cer": "character error rate (%)",
    "wer": "word error rate (%)",
}


def attention_heatmap(
    weights: Float[Any, "... t s"],
    source_tokens: Sequence[str],
    target_tokens: Sequence[str],
    path: str | PathLike[str],
    *,
    title: str = "",
) -> None:
    """Draws how much each target token draws from each source token, one panel a head.

    Rows of panels are layers and columns are heads; all share one colour scale, which starts at 0.
    The word marks `▁` and `Ġ` of subword vocabularies are left out; a token that is only a space
    shows as `␣`.

    Args:
      weights: [l h t s], or [h t s] for a single layer.
      source_tokens: the s tokens that are looked at, along the horizontal axis.
      target_tokens: the t tokens that look, downwards.
      path: the picture to write; its suffix names the format.
      title: shown above all panels.

    Raises:
      ValueError: `weights` does not fit the tokens, is empty, or is not finite.
    """
    numbers = _checked_weights(weights, len(target_tokens), len(source_tokens))
    layers, heads = numbers.shape[:2]
    width, height = (max(8, len(x)) * _CELL_INCHES for x in (source_tokens, target_tokens))
    # Room for the tokens, the titles and the colour bar comes on top.
    figure = Figure((heads * (width + 0.25) + 2.2, layers * (height + 0.35) + 1.6))
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06)
    panels = figure.subplots(layers, heads, sharex=True, sharey=True, squeeze=False)
    low, high = min(0.0, numbers.min()), numbers.max()
    high = high if high > low else low + 1.0
    for layer, head in np.ndindex(layers, heads):
        panel = panels[layer, head]
        image = panel.imshow(numbers[layer, head], cmap="Blues", vmin=low, vmax=high, aspect="auto")
        name = (
            f"head {head + 1}" if np.ndim(weights) == 3 else f"layer {layer + 1}, head {head + 1}"
        )
        panel.set_title(name, fontsize=_LETTER_POINTS + 1, color=_INK)
        _draw_cells(panel, *numbers.shape[2:])
    _write_tokens(panels, source_tokens, target_tokens)
    bar = figure.colorbar(image, ax=panels, fraction=0.05, pad=0.01, aspect=25)
    bar.set_label("attention weight", fontsize=_LETTER_POINTS + 1, color=_INK)
    bar.ax.tick_params(labelsize=_LETTER_POINTS, color=_FAINT)
    bar.outline.set_visible(False)
    _save(figure, path, title)


def curves(metrics_jsonl_path: str | PathLike[str], path: str | PathLike[str]) -> None:
    """Draws loss, accuracy and other measures over the steps of a run.

    Measures that no row has get no panel, and rows without a measure are passed over. A last line
    that is still being written is left out.

    Args:
      metrics_jsonl_path: one JSON object a line, with `step`, `split` (train or validation) and
        any of `loss`, `accuracy`, `bleu`, `exact_match`, `cer` and `wer`.
      path: the picture to write; its suffix names the format.

    Raises:
      ValueError: a line is no such object, or no row has anything to draw.
    """
    series = _read_series(Path(metrics_jsonl_path))
    names = [name for name in _PANELS if any(name == measure for _, measure in series)]
    if not names:
        raise ValueError(
            f"`metrics_jsonl_path` must hold rows with one of {', '.join(_PANELS)}; "
            f"got none in {metrics_jsonl_path}. Train for at least one logged step first."
        )
    columns = min(len(names), 2)
    rows = -(-len(names) // columns)
    figure = Figure((4.8 * columns, 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for panel, name in zip(panels, names, strict=False):
        for split, (label, colour) in _SPLITS.items():
            points = series.get((split, name))
            if points:
                # A lone point has no line: a mark shows it, as it shows each validation.
                mark = "o" if split == "validation" or len(points) == 1 else ""
                panel.plot(*zip(*points, strict=True), color=colour, label=label, marker=mark,
                           markersize=4, linewidth=1.6)  # fmt: skip
        _dress(panel, _PANELS[name])
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    for panel in panels[max(0, len(names) - columns) : len(names)]:
        panel.set_xlabel("step", color=_INK)
        panel.tick_params(labelbottom=True)
    _save(figure, path)


def _checked_weights(weights: Any, t: int, s: int) -> np.ndarray:
    """The weights as [l h t s] in float32."""
    shape = np.shape(weights)
    if len(shape) not in (3, 4) or shape[-2:] != (t, s):
        raise ValueError(
            f"`weights` must have shape [h t s] or [l h t s] with t={t} target tokens and s={s} "
            f"source tokens; got {shape}. Cut off padding and name every token."
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
    return numbers.reshape(-1, *shape[-3:])


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
        panel.set_xlabel("source", fontsize=_LETTER_POINTS, color=_FAINT)
    for panel in panels[:, 0]:
        _style_texts(panel.get_yticklabels())
        panel.set_ylabel("target", fontsize=_LETTER_POINTS, color=_FAINT)


def _style_texts(texts: Sequence[Text], rotation: int = 0) -> None:
    for text in texts:
        text.set(fontsize=_LETTER_POINTS, color=_INK, rotation=rotation)
        text.set_parse_math(False)  # a token may hold dollar signs


def _shown(token: str) -> str:
    """A token as it reads, without the marks of its vocabulary."""
    return token.replace("▁", " ").replace("Ġ", " ").strip() or "␣"


def _read_series(path: Path) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """(split, measure) -> its (step, value) pairs, in order of steps."""
    series: dict[tuple[str, str], list[tuple[int, float]]] = {}
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
                series.setdefault((split, name), []).append((step, value))
    return {key: sorted(points) for key, points in series.items() if key[0] in _SPLITS}


def _dress(panel: Axes, title: str) -> None:
    panel.set_title(title, loc="left", fontsize=11, color=_INK)
    panel.grid(color="#e6e6e6", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(_FAINT)
    panel.tick_params(colors=_INK, labelsize=9)
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    panel.margins(x=0.03, y=0.08)
    panel.legend(frameon=False, fontsize=9)


def _save(figure: Figure, path: str | PathLike[str], title: str = "") -> None:
    if title:
        letters = max(30, int(figure.get_figwidth() * 11))
        lines = [part for line in title.splitlines() for part in textwrap.wrap(line, letters)]
        text = figure.suptitle("\n".join(lines), fontsize=_LETTER_POINTS + 2, color=_INK)
        text.set_parse_math(False)
    figure.savefig(path, dpi=_PIXELS_PER_INCH, facecolor="white", bbox_inches="tight")
