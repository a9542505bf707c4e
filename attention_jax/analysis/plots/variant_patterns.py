"""Attention patterns of a variant, with equal and with random scores.

    found = variant_patterns.patterns("alibi", heads=4)
    variant_patterns.draw(found, "alibi.png", title="alibi")

The weights are outputs: where the values are unit vectors, the output of a query is its weights.
"""

import importlib
import inspect
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

from attention_jax import variants
from attention_jax.analysis.plots import style
from attention_jax.analysis.variant_support import ways
from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import MaskFunction, Options, Variant
from attention_jax.variants._by_queries import by_queries

CELLS, LONG, HEADS, WIDTH, SPREAD = 48, 768, 4, 32, 1.2
SCORES = ("equal scores", "random scores")
# Of weights above and below 0; their size is the opacity, so that they read on any ground.
_POSITIVE, _NEGATIVE, _GROUND = (38, 115, 217), (217, 84, 26), (128, 128, 128)
_LEAST, _STEPS, _GAP = 0.10, 48, 4
_INCHES = 1.7


class Patterns(NamedTuple):
    """Attention patterns of a variant.

    Attributes:
      weights: with equal scores, then random ones, [2 h t s]; a whole sequence, then causal.
      positions: how long the sequence is.
      options: what differs from the variant's defaults.
    """

    weights: dict[str, Float[np.ndarray, "n h t s"]]
    positions: int
    options: dict[str, Any]


@typed_calls
def patterns(name: str, *, heads: int = HEADS, **options: Any) -> Patterns:
    """Attention patterns of a variant with its initial parameters.

    A pattern wider than a short sequence gets a long one. A variant whose output is no weighted
    sum of the values is tried again without what its options can switch off, such as a norm.

    Raises:
      ValueError: no such variant or option; or it has no weights.
    """
    checks.positive("heads", heads)
    reasons = []
    for changed in _simpler(name, options):
        try:
            variant = variants.get(name, **changed)
            for positions in (CELLS, LONG):
                found = {
                    way: weights(variant, mask, positions=positions, heads=heads)
                    for way, mask in ways(variant).items()
                }
                if "cross" in variant.roles or not _is_uniform(found):
                    break
            return Patterns(found, positions, changed)
        except ValueError as error:
            reasons.append(error)
    raise reasons[0]


@typed_calls
def weights(
    variant: Variant, mask: MaskFunction | None, *, positions: int, heads: int
) -> Float[np.ndarray, "n h t s"]:
    """Weights of each key in each query's output: with equal scores, then with random ones.

    Args:
      mask: None, or `masks.causal`.
      positions: of the sequence that attends to itself; a multiple of 16.
      heads: for queries, keys and values.

    Raises:
      ValueError: the output is no weighted sum of the values, or the variant refuses the request.
    """
    keys, variant = jax.random.split(jax.random.key(0), 5), by_queries(variant)
    params = variant.init(keys[0], heads=heads, kv_heads=heads, head_width=WIDTH)
    options = Options(mask, dropout_key=keys[1] if variant.stochastic else None)
    shape = (1, positions, heads, WIDTH)
    q, k = (jax.random.normal(key, shape) for key in keys[2:4])
    # Unit vectors, 16 at once; and two more, to see whether what they give is all there is to it.
    unit = jnp.eye(positions).reshape(positions, -1, 16).swapaxes(0, 1)
    others = jnp.zeros((1, positions, 16)), jax.random.normal(keys[4], (1, positions, 16))
    values = jnp.concatenate([unit, *others])

    @jax.jit
    def outputs(q: Array, k: Array) -> Array:
        def attend(v: Array) -> Array:
            # Alike in all heads, for there are variants that share them.
            v = jnp.broadcast_to(v[None, :, None], (1, positions, heads, 16))
            return variant.attend(params, q, k, v, options)[0]

        return jax.lax.map(attend, values)

    found = []
    for side in ((jnp.ones(shape), jnp.ones(shape)), (SPREAD * q, SPREAD * k)):
        *parts, nothing, whole = np.asarray(outputs(*side)).swapaxes(1, 2)
        # What comes of no value, such as a learned one, is not of these weights.
        found.append(np.concatenate([part - nothing for part in parts], axis=-1))
        sums = found[-1] @ np.asarray(values[-1])
        if not np.allclose(whole - nothing, sums, rtol=1e-3, atol=1e-3 * np.abs(sums).max()):
            raise ValueError(
                "Its output is not a weighted sum of the values, so it has no weights."
            )
    return np.stack(found)


def _simpler(name: str, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The options; and where there are none, those that switch off what can be."""
    yield options
    name = variants.aliases().get(name, name)
    if options or name not in variants.names():
        return
    factory = getattr(importlib.import_module(f"{variants.__name__}.{name}"), name)
    defaults = {x.name: x.default for x in inspect.signature(factory).parameters.values()}
    on = {option: False for option, default in defaults.items() if default is True}
    yield from ({option: False} for option in on)
    yield on


def _is_uniform(found: dict[str, np.ndarray]) -> bool:
    """Test for equal weights where all scores are equal and nothing is masked."""
    way, (equal, _) = next(iter(found.items()))
    return way != "causal" and bool(np.ptp(equal) < 1e-3 * np.abs(equal).max())


@typed_calls
def draw(found: Patterns, path: str | PathLike[str] | None = None, *, title: str = "") -> Figure:
    """Draw all heads: equal scores on the left, random ones on the right, a row for each mask.

    Args:
      path: the file to write, whose suffix names the format; None for none.
    """
    heads = next(iter(found.weights.values())).shape[1]
    rows = len(found.weights)
    size = 2 * heads * _INCHES + 0.8, rows * (_INCHES + 0.1) + 1.0
    widths = [*[1.0] * heads, 0.05, *[1.0] * heads]  # a gap between the two kinds of scores
    figure, grid = style.figure(rows, len(widths), size=size, widths=widths)
    for gap in grid[:, heads]:
        gap.set_visible(False)
    panels = np.delete(grid, heads, axis=1)
    for row, (way, pattern) in enumerate(found.weights.items()):
        for column, panel in enumerate(panels[row]):
            number, head = divmod(column, heads)
            panel.imshow(_tinted(pattern[number, head]), interpolation="nearest")
            name = f"{SCORES[number]}\nhead 1" if head == 0 else f"head {head + 1}"
            style.image_panel(panel, name if row == 0 else "")
            if row == rows - 1:
                panel.set_xlabel("key")
            if column == 0:
                panel.set_ylabel(f"{way}\nquery")
            for label in (panel.xaxis.label, panel.yaxis.label):
                label.set(fontsize=style.SMALL_POINTS, color=style.INK)
    style.headline(figure, f"{title}\n{caption(found)}".strip())
    style.note(
        figure, "Full color: the largest weight of the row; blue above 0, orange below; gray: 0"
    )
    return style.saved(figure, path)


@typed_calls
def caption(found: Patterns) -> str:
    """The length of the sequence, and the options that differ from the defaults."""
    options = ", ".join(f"{name}={value}" for name, value in found.options.items())
    return f"{found.positions} positions" + (f", with {options}" if options else "")


@typed_calls
def thumbnail(pattern: Float[np.ndarray, "n h t s"], *, heads: Sequence[int] = (0, -1)) -> bytes:
    """A small PNG without words, on a clear ground: equal scores, then random ones."""
    parts = []
    for side in pattern:
        tinted = [_tinted(side[head]) for head in heads]
        gap = np.zeros((len(tinted[0]), _GAP, 4), np.uint8)
        for one in tinted:
            parts += [one, gap]
        parts.append(gap)
    return style.image_png(np.concatenate(parts[:-2], axis=1))


def _tinted(weights: Float[np.ndarray, "t s"]) -> np.ndarray:
    """Colors with opacity: each row relative to its largest weight, so that all rows show."""
    most = np.abs(weights).max(axis=-1, keepdims=True)
    share = np.divide(weights, most, out=np.zeros_like(weights), where=most > 0)
    share = _largest(share, len(share) // CELLS) if len(share) > CELLS else share
    # Few steps make a small file.
    share = np.round(share * _STEPS) / _STEPS
    colors = np.where((share > 0)[..., None], _POSITIVE, _NEGATIVE)
    colors = np.where((share == 0)[..., None], _GROUND, colors)
    opacity = np.where(share == 0, _LEAST, _LEAST + (1 - _LEAST) * np.abs(share))
    return np.concatenate([colors, 255 * opacity[..., None]], axis=-1).round().astype(np.uint8)


def _largest(share: np.ndarray, size: int) -> np.ndarray:
    """The entry furthest from 0 of each square of cells."""
    squares = share.reshape(len(share) // size, size, -1, size).swapaxes(1, 2)
    squares = squares.reshape(*squares.shape[:2], size**2)
    return np.take_along_axis(squares, np.abs(squares).argmax(-1)[..., None], -1)[..., 0]
