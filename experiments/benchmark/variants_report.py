"""Report of the variants benchmark: lines of a table, and figures that each ask one question.

    python -m experiments.benchmark.variants_report --picture=variants.png \
        --results=experiments/results/variants_speed.json
"""

from collections import Counter
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from attention_jax.analysis.plots import style
from attention_jax.analysis.variant_support import FAMILIES
from experiments.benchmark import rows as files
from experiments.benchmark.attention_cases import BOTH
from experiments.benchmark.rows import Row
from experiments.benchmark.variants import growth
from experiments.common import flags
from experiments.common.config import DeviceFlags

_COLORS = dict(zip(FAMILIES, style.COLORS, strict=False))
_ROW_INCHES = 0.165


def header(lengths: tuple[int, ...]) -> str:
    """The first lines of the table."""
    cells = "".join(f"{f'{length:,}':>20}" for length in sorted(lengths))
    return f"{'milliseconds / temporary MB at':<46}{cells}{'growth of time':>16}{'of memory':>11}"


def line(rows: list[Row], *, progress: str) -> str:
    """One line of a variant in one direction, from the rows of its lengths."""
    ((name, direction),) = {(row.case["variant"], row.case["direction"]) for row in rows}
    grown = growth(rows)[name][direction]
    cells = "".join(f"{_cell(row):>20}" for row in sorted(rows, key=lambda row: row.case["length"]))
    own, of_memory = (
        "-" if grown[measure] is None else f"{grown[measure]:.2f}"
        for measure in ("seconds", "temporary_bytes")
    )
    return f"{progress:<8}{name:<21}{direction:<17}{cells}{own:>16}{of_memory:>11}"


def reasons(rows: list[Row]) -> list[str]:
    """The reasons why lengths were not measured, a line each."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for reason in row.not_measured.values():
            found.setdefault(reason, []).append(f"{row.case['length']:,}")
    return [f"{', '.join(lengths)}: {reason}" for reason, lengths in found.items()]


def _cell(row: Row) -> str:
    if row.ours_ms is None or row.temporary_bytes is None:
        return "-"
    return f"{row.ours_ms:,.1f} / {row.temporary_bytes / 1e6:,.1f}"


def plot(rows: list[Row], path: str | PathLike[str]) -> dict[str, Figure]:
    """Draws a figure for each question: how long, how it grows, and how much memory.

    Args:
      rows: all that were measured.
      path: of a file, as variants.png: variants_time.png, variants_growth.png and
        variants_memory.png stand beside it.

    Returns:
      The figures by the end of their name.
    """
    whole = Path(path)
    figures = {name: draw(rows) for name, draw in QUESTIONS.items()}
    for name, figure in figures.items():
        style.save(figure, whole.with_name(f"{whole.stem}_{name}{whole.suffix}"))
    return figures


def time(rows: list[Row]) -> Figure:
    """How long a call takes at the length that most variants were measured at."""
    length = _usual_length(rows)
    found = {
        name: {direction: row.ours_ms for direction, row in own.items() if row.ours_ms}
        for name, own in _at(rows, length).items()
    }
    title = f"How long does a call take at {length:,} positions? Milliseconds"
    note = "Hollow: forward; full: forward and backward. In each family, the fastest first."
    return _dots(rows, found, title, f"{note} {_missing(rows, found)}", is_log=True)


def memory(rows: list[Row]) -> Figure:
    """How much temporary memory a call needs at the length that most were measured at."""
    length = _usual_length(rows)
    found = {
        name: {
            direction: row.temporary_bytes / 1e6
            for direction, row in own.items()
            if row.ours_ms and row.temporary_bytes
        }
        for name, own in _at(rows, length).items()
    }
    title = f"How much memory does a call need at {length:,} positions? Temporary MB"
    note = "Hollow: forward; full: forward and backward. In each family, the least first."
    return _dots(rows, found, title, f"{note} {_missing(rows, found)}", is_log=True)


def grows(rows: list[Row]) -> Figure:
    """How the time of a call grows with the length, as an exponent."""
    exponents = growth(rows)
    found = {
        name: {d: x["seconds"] for d, x in own.items() if x["seconds"] is not None}
        for name, own in exponents.items()
    }
    title = "How does time grow with the length? Exponent: 1 in proportion, 2 with its square"
    note = "Hollow: forward; full: forward and backward. In each family, the slowest growth first."
    return _dots(rows, found, title, f"{note} {_missing(rows, found)}", marks=(1.0, 2.0))


QUESTIONS: dict[str, Callable[[list[Row]], Figure]] = {
    "time": time,
    "growth": grows,
    "memory": memory,
}


def _usual_length(rows: list[Row]) -> int:
    """The longest of the lengths at which nine in ten of the calls were measured."""
    counts = Counter(row.case["length"] for row in rows if row.ours_ms)
    return max(length for length in counts if counts[length] >= 0.9 * max(counts.values()))


def _at(rows: list[Row], length: int) -> dict[str, dict[str, Row]]:
    """Variant -> direction -> its row at a length."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row.case["length"] == length:
            found.setdefault(row.case["variant"], {})[row.case["direction"]] = row
    return found


def _missing(rows: list[Row], found: dict[str, dict[str, float]]) -> str:
    """The variants that have no mark, in words."""
    names = dict.fromkeys(row.case["variant"] for row in rows)
    lost = [name for name in names if not found.get(name)]
    return f"Not measured: {', '.join(lost)}." if lost else ""


def _dots(
    rows: list[Row],
    found: dict[str, dict[str, float]],
    title: str,
    note: str,
    *,
    is_log: bool = False,
    marks: tuple[float, ...] = (),
) -> Figure:
    """A row of two dots for each variant, in two columns of families.

    Args:
      rows: all that were measured, for the families.
      found: variant -> direction -> value.
      title: the question, with the unit.
      note: what the marks mean.
      is_log: the axis is logarithmic.
      marks: values at which a line stands.
    """
    columns = _columns(rows, found)
    size = 11.0, 1.6 + _ROW_INCHES * max(len(column) for column in columns)
    figure, panels = style.figure(1, len(columns), size=size, share_x=True)
    for axes, column in zip(panels[0], columns, strict=True):
        for at, (family, name) in enumerate(column):
            for direction, value in sorted(found.get(name, {}).items()):
                color = _COLORS[family]
                fill = color if direction == BOTH else "white"
                axes.plot(value, at, "o", color=color, markerfacecolor=fill, markersize=4.5)
        labels = [family if name is None else f"{name}  " for family, name in column]
        axes.set_yticks(range(len(column)), labels)
        if is_log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.10g}")
        for value in marks:
            axes.axvline(value, color=style.FAINT, linestyle="--", linewidth=1)
        style.panel(axes)
        for label, (family, name) in zip(axes.get_yticklabels(), column, strict=True):
            is_head = name is None
            label.set(
                color=_COLORS[family] if is_head else style.INK,
                fontweight="bold" if is_head else "normal",
                fontsize=style.TEXT_POINTS if is_head else 7,
            )
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(max(map(len, columns)) - 0.4, -0.6)
    style.headline(figure, title)
    style.note(figure, note)
    return figure


def _columns(
    rows: list[Row], found: dict[str, dict[str, float]]
) -> list[list[tuple[str, str | None]]]:
    """(family, variant) of each line, in two columns of about as many; None heads a family."""
    of = {row.case["variant"]: row.case["family"] for row in rows if found.get(row.case["variant"])}
    left: list[tuple[str, str | None]] = []
    right: list[tuple[str, str | None]] = []
    for family in FAMILIES:
        own = [name for name in of if of[name] == family]
        own.sort(key=lambda name: found[name].get(BOTH, max(found[name].values())))
        if own:
            shorter = left if len(left) <= len(right) else right
            shorter += [(family, None), *((family, name) for name in own)]
    return [column for column in (left, right) if column]


class DrawConfig(NamedTuple):
    """Figures of results that were measured before.

    Attributes:
      results: file of the results.
      picture: the figures stand beside it, with _time, _growth and _memory in their names.
    """

    results: str | None = None
    picture: str = "variants.png"


def main() -> None:
    """Draws the figures of a file."""
    own = flags.config_from_flags(DrawConfig())
    if own.results is None:
        raise ValueError("`--results` must name a file of the suite variants; got none.")
    found = files.read(own.results)
    if found.suite != "variants":
        raise ValueError(f"`--results` must be of the suite variants; got {found.suite}.")
    plot(list(found.rows), own.picture)


if __name__ == "__main__":
    flags.launch(main, DrawConfig(), DeviceFlags())
