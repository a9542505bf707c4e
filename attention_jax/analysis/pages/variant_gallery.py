"""Gallery of all variants: equations, properties and attention patterns, with a filter."""

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from attention_jax.analysis import pages
from attention_jax.analysis.decoding_costs import DecodingCosts
from attention_jax.analysis.pages.cost_curves import Chart, charts
from attention_jax.analysis.plots import variant_patterns
from attention_jax.analysis.variant_info import Entry
from attention_jax.core.plain_types import typed_calls

_TEMPLATE = Path(__file__).with_name("variant_gallery.html")


class Figure(NamedTuple):
    """The thumbnail of one pattern; `way` is the mask, `alt` the text in place of the image."""

    way: str
    alt: str
    png: bytes


class Card(NamedTuple):
    """One variant of the gallery.

    Attributes:
      note: below the figures.
      charts: of what decoding costs.
      gap: why a length or more has no costs; empty if all have.
    """

    entry: Entry
    figures: tuple[Figure, ...]
    note: str
    charts: tuple[Chart, ...]
    gap: str


@typed_calls
def page(
    entries: Iterable[Entry],
    patterns: dict[str, variant_patterns.Patterns | str],
    costs: dict[str, DecodingCosts],
) -> str:
    """The HTML of all entries.

    Args:
      entries: the variants, in order.
      patterns: by name; or why there are none.
      costs: of decoding, by name.
    """
    drawn = charts(costs)
    cards = [
        Card(
            entry,
            *_pictured(entry.name, patterns[entry.name]),
            drawn[entry.name],
            costs[entry.name].why,
        )
        for entry in entries
    ]
    title = "Attention variants of attention_jax"
    return pages.render(_TEMPLATE, title=title, cards=cards, dedent=textwrap.dedent)


def _pictured(name: str, found: variant_patterns.Patterns | str) -> tuple[tuple[Figure, ...], str]:
    """The figures of a variant, and the note below them."""
    if isinstance(found, str):
        return (), f"No plot: {found}"
    return tuple(_figures(name, found)), variant_patterns.caption(found)


def _figures(name: str, found: variant_patterns.Patterns) -> Iterator[Figure]:
    for way, pattern in found.weights.items():
        alt = (
            f"Attention weights of {name}, {way}, over {variant_patterns.caption(found)}: two "
            "heads with equal scores, then the same two with random scores."
        )
        yield Figure(way, alt, variant_patterns.thumbnail(pattern))
