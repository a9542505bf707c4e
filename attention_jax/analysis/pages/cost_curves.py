"""Small charts of what decoding costs, all on the same axes: one variant before all the others."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from attention_jax.analysis.decoding_costs import Curve, DecodingCosts
from attention_jax.core.plain_types import typed_calls

WIDTH, HEIGHT, EDGE = 240, 72, 6


class Chart(NamedTuple):
    """One chart as SVG needs it: points of lines, and words for those who do not see it.

    Attributes:
      own, others: points of the variant's line, and of different ones.
      words: the numbers, below the chart.
    """

    title: str
    alt: str
    own: str
    others: tuple[str, ...]
    words: str
    width: int = WIDTH
    height: int = HEIGHT


@typed_calls
def charts(costs: dict[str, DecodingCosts]) -> dict[str, tuple[Chart, ...]]:
    """The charts of each variant by name: of bytes, and of times where they were measured."""
    drawn: dict[str, list[Chart]] = {name: [] for name in costs}
    held = {name: own.bytes for name, own in costs.items()}
    taken = {name: own.seconds for name, own in costs.items()}
    for title, curves, words in (
        ("Cache of a layer, 8 heads of width 64 in float32", held, _bytes),
        ("Time of a token of such a layer, where this page was made", taken, _time),
    ):
        for name, chart in _alike(title, curves, words):
            drawn[name].append(chart)
    return {name: tuple(own) for name, own in drawn.items()}


def _alike(
    title: str, curves: dict[str, Curve], words: Callable[[float], str]
) -> Iterator[tuple[str, Chart]]:
    """The charts of all that have numbers, on common axes."""
    drawn = {name: own for name, own in curves.items() if own}
    if not drawn:
        return
    place = _places(x for own in drawn.values() for x in own)
    points = {name: " ".join(map(place, own)) for name, own in drawn.items()}
    for name, own in drawn.items():
        said = ", ".join(f"{words(cost)} at {length:,} tokens" for length, cost in own)
        others = tuple(sorted(set(points.values()) - {points[name]}))
        yield name, Chart(title, f"{title}, {name}: {said}.", points[name], others, said)


def _places(found: Iterable[tuple[int, float]]) -> Callable[[tuple[int, float]], str]:
    """Where a number stands in the chart; both axes are logarithmic."""
    lengths, costs = (np.log(axis) for axis in zip(*found, strict=True))

    def share(x: float, axis: np.ndarray) -> float:
        low, high = axis.min(), axis.max()
        return (np.log(x) - low) / (high - low) if high > low else 0.5

    def place(point: tuple[int, float]) -> str:
        across, up = share(float(point[0]), lengths), share(point[1], costs)
        x = EDGE + across * (WIDTH - 2 * EDGE)
        return f"{x:.1f},{HEIGHT - EDGE - up * (HEIGHT - 2 * EDGE):.1f}"

    return place


def _bytes(count: float) -> str:
    unit, name = (2**20, "MiB") if count >= 2**20 else (2**10, "KiB")
    return f"{count / unit:,.3g} {name}" if count < 1000 * unit else f"{count / unit:,.0f} {name}"


def _time(seconds: float) -> str:
    return f"{1e6 * seconds:,.0f} µs" if seconds < 1e-3 else f"{1e3 * seconds:,.3g} ms"
