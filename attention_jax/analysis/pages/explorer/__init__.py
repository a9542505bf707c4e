"""Attention explorer: one HTML file with the attention maps of one or two models, offline.

    html = explorer.page([Run("reverse")], [("3 1 2", [Reading(source, target, beam, maps)])])
    Path("explorer.html").write_text(html, encoding="utf-8")

`explorer.html`, `explorer.css` and the scripts are the page; this file makes the data in it.
Weights take 8 bits each, scaled row by row, then zlib and base64.
"""

import base64
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from attention_jax.analysis import attention_entropy, pages
from attention_jax.analysis.attention_maps import Map
from attention_jax.core import checks, plain_types
from attention_jax.core.plain_types import typed_calls

# Below this share of a map's largest weight, a negative one is rounding.
_NOISE = 1e-5
_TEMPLATE = Path(__file__).with_name("explorer.html")
# What a source can be; words.js has the words for each.
KINDS = ("sentence", "text", "picture", "recording")


class Run(NamedTuple):
    """A model of the page: its name, and a note on it."""

    name: str
    about: str = ""


class Picture(NamedTuple):
    """Image that the positions of a source are parts of: patches, or frames of a spectrogram.

    Attributes:
      png: the image, as the page shows it.
      boxes: left, top, width and height of each position, as shares of the image; a position
        that is no part of it has no width.
      about: a sentence on it.
    """

    png: bytes
    boxes: Float[np.ndarray, "s 4"]
    about: str


class Reading(NamedTuple):
    """The output of one run for one sentence, image or sound, with its attention maps.

    Attributes:
      source: the tokens of the input, with EOS.
      target: the tokens of the output, with EOS.
      alternatives: translations and their scores, the best first; `target` is that of the first.
      maps: as `attention_maps.attention_maps` gives them.
      picture: the image of a source that is not text.
    """

    source: Sequence[str]
    target: Sequence[str]
    alternatives: Sequence[tuple[str, float]]
    maps: dict[str, Map]
    picture: Picture | None = None


class Quantized(NamedTuple):
    """Weights in 8 bits: `(codes - zero) * steps[..., None]` are they, to half a step."""

    codes: UInt8[np.ndarray, "*n s"]
    steps: Float[np.ndarray, "*n"]
    zero: int


@typed_calls
def page(
    runs: Sequence[Run], sentences: Sequence[tuple[str, Sequence[Reading]]], *, of: str = "sentence"
) -> str:
    """HTML page of one or two runs.

    Args:
      runs: the models, in the order of their columns.
      sentences: each with the reading of every run; or what stands for sentences.
      of: one of `KINDS`: the page speaks of patches and classes where these are pictures, of
        moments and transcripts where they are recordings, and of a text that a language model
        reads, whose map is "decoder" and whose tokens are all in `source`.

    Raises:
      ValueError: there is no sentence, or one has not as many readings as there are runs.
    """
    checks.one_of("of", of, KINDS)
    if not sentences:
        raise ValueError("`sentences` must hold at least one; got none.")
    for text, readings in sentences:
        if len(readings) != len(runs):
            raise ValueError(
                f"every sentence needs a reading of each of {len(runs)} runs; "
                f"got {len(readings)} of {text!r}."
            )
    data = {
        "of": of,
        "runs": [run._asdict() for run in runs],
        "sentences": [
            {"text": text, "readings": [_reading(reading) for reading in readings]}
            for text, readings in sentences
        ],
    }
    return pages.render(_TEMPLATE, title="Attention explorer", data=data)


@typed_calls
def quantize(weights: Float[np.ndarray, "*n s"]) -> Quantized:
    """Weights in 8 bits, each row in steps of its own: 1/255 of its largest, 1/127 if signed.

    >>> codes, steps, zero = quantize(np.float32([[0.5, 0.3, 0.2]]))
    >>> codes.tolist(), zero
    ([[255, 153, 102]], 0)
    """
    size = np.abs(weights).max(axis=-1)
    signed = weights.min() < -_NOISE * size.max()
    zero, most = (128, 127) if signed else (0, 255)
    steps = (size / most).astype(np.float32)
    codes = np.rint(weights / np.where(steps > 0, steps, 1)[..., None]) + zero
    return Quantized(np.clip(codes, 0, 255).astype(np.uint8), steps, zero)


@typed_calls
def entropy(weights: Float[np.ndarray, "*n t s"]) -> Float[np.ndarray, "*n"]:
    """Mean over the rows of `-sum_j p_j log2 p_j`, in bits, where p are the shares of a row."""
    shares, rows = attention_entropy.shares(weights)
    return _mean(attention_entropy.entropy(shares), rows)


@typed_calls
def information(weights: Float[np.ndarray, "*n t s"]) -> Float[np.ndarray, "*n"]:
    """Bits that knowing the row tells of the column: `H(mean of the rows) - mean of H(row)`.

        I = sum_ij p_ij / t log2(p_ij / mean_k p_kj)

    0 where all rows are alike, whether they look everywhere or all at one token. The head of the
    largest says most of who looks where; the explorer opens at it.
    """
    shares, rows = attention_entropy.shares(weights)
    counted = np.maximum(rows.sum(axis=-1), 1)[..., None]
    together = (shares * rows[..., None]).sum(axis=-2) / counted
    return np.maximum(attention_entropy.entropy(together) - entropy(weights), 0.0)


@typed_calls
def distance(weights: Float[np.ndarray, "*n t s"]) -> Float[np.ndarray, "*n"]:
    """Mean over the rows i of `sum_j p_j |i - j|`, in tokens, where p are the shares of a row."""
    shares, rows = attention_entropy.shares(weights)
    t, s = weights.shape[-2:]
    apart = np.abs(np.arange(t)[:, None] - np.arange(s)[None])
    return _mean((shares * apart).sum(axis=-1), rows)


def _mean(numbers: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The mean of the last axis over the rows that count."""
    return (numbers * rows).sum(axis=-1) / np.maximum(rows.sum(axis=-1), 1)


def _reading(reading: Reading) -> dict[str, Any]:
    found = [(text, float(score)) for text, score in reading.alternatives]
    return {
        "source": list(reading.source),
        "target": list(reading.target),
        # The beam ranks as -inf what it never finished.
        "alternatives": [[t, round(x, 4)] for t, x in found if math.isfinite(x)],
        "maps": {place: _map(found) for place, found in reading.maps.items()},
    } | ({} if reading.picture is None else {"picture": _picture(reading.picture, reading.source)})


def _picture(picture: Picture, source: Sequence[str]) -> dict[str, Any]:
    if len(picture.boxes) != len(source):
        raise ValueError(
            f"`boxes` must have one of each of the {len(source)} positions of the source; got "
            f"{len(picture.boxes)}."
        )
    boxes = np.asarray(picture.boxes, np.float64).round(5).tolist()
    png = base64.b64encode(picture.png).decode()
    return {"png": png, "boxes": boxes, "about": picture.about}


@typed_calls
def strips(parts: int, *, across: float | None = None) -> Float[np.ndarray, "s 4"]:
    """Boxes of the frames of a spectrogram: upright strips, left to right.

    Args:
      parts: how many there are.
      across: width of the image in strips, where its end cuts the last one.

    >>> strips(2, across=1.5)[:, [0, 2]].round(2).tolist()
    [[0.0, 0.67], [0.67, 0.33]]
    """
    checks.positive("parts", parts)
    if across is not None:
        checks.above_zero("across", across)
    whole = parts if across is None else across
    left = np.arange(parts) / whole
    width = np.minimum(1 / whole, 1 - left)
    return np.stack([left, 0 * left, width, 0 * left + 1], axis=1)


@typed_calls
def tiles(rows: int, columns: int) -> Float[np.ndarray, "s 4"]:
    """Boxes of the patches of an image, row by row."""
    plain_types.sizes(rows=rows, columns=columns)
    y, x = np.divmod(np.arange(rows * columns), columns)
    size = np.ones(rows * columns)
    return np.stack([x / columns, y / rows, size / columns, size / rows], axis=1)


def _map(found: Map) -> dict[str, Any]:
    """A map as the page reads it; heads that are not exact have no numbers."""
    weights = np.where(found.is_exact[:, :, None, None], found.weights, 0)
    codes, steps, zero = quantize(weights)
    numbers = {"entropy": entropy(weights), "information": information(weights)}
    numbers |= {"distance": distance(weights)}
    numbers |= {"error": found.error, "rest": found.rest}
    return {
        "shape": list(weights.shape),
        "zero": zero,
        "exact": found.is_exact.tolist(),
        "codes": _packed(codes),
        "steps": _packed(steps.astype("<f4")),
    } | {name: _finite(x).round(4).tolist() for name, x in numbers.items()}


def _finite(numbers: np.ndarray) -> np.ndarray:
    """JSON has no NaN: what is none becomes -1."""
    return np.where(np.isfinite(numbers), numbers, -1).astype(np.float64)


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(array.tobytes(), 9)).decode()
