"""Bytes that decoding holds, of every variant, as sequences grow.

    python -m experiments.benchmark.caches --output=experiments/results/cache_bytes.json \
        --picture=experiments/results/cache_bytes.png

A row is the cache of one layer of a variant at one length, as `attention_jax.analysis.cache_cost`
reads it off the shapes: one sequence, 8 heads of width 64 in float32. A variant that is made for a
longest length is made for the longest here. Nothing is measured, so any machine gives the same.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, NamedTuple

from matplotlib.figure import Figure

from attention_jax import variants
from attention_jax.analysis.cache_cost import LENGTHS, cache_cost
from attention_jax.analysis.plots import style
from attention_jax.core.wording import one_line
from attention_jax.variants._registry import origin
from experiments.benchmark import rows
from experiments.benchmark.machine import environment
from experiments.benchmark.rows import OURS, Results, Row
from experiments.common import flags
from experiments.common.config import DeviceFlags
from experiments.common.flags import Flag
from experiments.common.markdown import table
from experiments.common.timing import lengths

SUITE = "caches"
NAMED = 3  # variants of a line of the figure that are named
Sizes = tuple[tuple[int, int, int], ...]  # length, bytes, bytes of the last token


class CacheBytes(NamedTuple):
    """Bytes of caches.

    Attributes:
      variants: all, or some.
      lengths: tokens that a cache has room for.
      output: JSON file of the results.
      picture: file of a figure; its suffix names the format.
    """

    variants: Annotated[tuple[str, ...], Flag(listed=True)] = ("all",)
    lengths: Annotated[tuple[str, ...], Flag(listed=True)] = tuple(map(str, LENGTHS))
    output: str | None = None
    picture: str | None = None


def main() -> None:
    """Reads off the bytes of variant after variant, prints the table, and writes all there is."""
    config = flags.config_from_flags(CacheBytes())
    asked = variants.names() if config.variants == ("all",) else config.variants
    sizes = lengths("lengths", config.lengths)
    found = tuple(row for name in asked for row in measure(name, sizes))
    results = Results(SUITE, environment(), (), found)
    print(*lines(results), sep="\n")
    rows.write(results, config.output)
    if config.picture:
        plot(results.rows, config.picture)


def measure(name: str, sizes: Sequence[int]) -> Iterator[Row]:
    """The rows of one variant, one for each length."""
    takes = inspect.signature(origin(variants.parse(name)).factory).parameters
    longest = {"max_length": max(sizes)} if "max_length" in takes else {}
    variant = variants.get(name, **longest)
    for length in sizes:
        row = Row(SUITE, {"variant": name, "length": length})
        try:
            yield row._replace(facts=cache_cost(variant, length)._asdict())
        except ValueError as error:
            yield row._replace(not_measured={OURS: one_line(error)})


def groups(found: Iterable[Row]) -> dict[tuple[str, Sizes], list[str]]:
    """Names of variants by what they hold: "causal" or "cross", and bytes at each length.

    The fewest bytes at the longest length come first.
    """
    held: dict[str, list[Row]] = {}
    for row in found:
        if row.facts:
            held.setdefault(row.case["variant"], []).append(row)
    alike: dict[tuple[str, Sizes], list[str]] = {}
    for name, own in held.items():
        sizes = tuple(
            (row.case["length"], row.facts["bytes"], row.facts["bytes_a_token"])
            for row in sorted(own, key=lambda row: row.case["length"])
        )
        alike.setdefault((own[0].facts["role"], sizes), []).append(name)
    return dict(sorted(alike.items(), key=lambda item: (item[0][0], item[0][1][-1][1])))


def lines(results: Results) -> list[str]:
    """The table: those that hold as much in a line."""
    sizes = sorted({row.case["length"] for row in results.rows})
    titles = ("variants", *(f"bytes at {n:,}" for n in sizes), "bytes of a token")
    return table(titles, (_line(*item, sizes) for item in groups(results.rows).items()))


def _line(kind: tuple[str, Sizes], names: list[str], lengths: list[int]) -> Sequence[str]:
    role, sizes = kind
    of = {length: f"{held:,}" for length, held, _ in sizes}
    title = f"{', '.join(names)}{'' if role == 'causal' else '; of a source'}"
    return (title, *(of.get(n, "-") for n in lengths), f"{sizes[-1][2]:,}")


def plot(found: Iterable[Row], path: str | None = None) -> Figure:
    """Draws bytes against the length, a line for those that hold as much.

    Args:
      found: all rows.
      path: the file to write; its suffix names the format.
    """
    figure, panels = style.figure(size=(8.6, 4.4))
    axes = panels[0, 0]
    alike = {kind: names for kind, names in groups(found).items() if kind[0] == "causal"}
    for number, ((_, sizes), names) in enumerate(reversed(alike.items())):
        lengths, held, _ = zip(*sizes, strict=True)
        axes.plot(
            lengths,
            [x / 2**20 for x in held],
            **style.line(number),
            label=_label(names),
        )
        style.length_axis(axes, lengths)
    style.log_axis(axes)
    axes.set_xlabel("tokens")
    style.panel(axes, "cache of one layer, 8 heads of width 64 in float32, MiB")
    style.legend_beside(axes)
    return style.saved(figure, path)


def _label(names: list[str]) -> str:
    """The first names of a line, and how many more there are."""
    first = sorted(names, key=lambda name: (name != "scaled_dot", names.index(name)))[:NAMED]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(first)}{more}"


if __name__ == "__main__":
    flags.launch(main, CacheBytes(), DeviceFlags())
