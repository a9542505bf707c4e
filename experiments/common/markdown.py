"""Tables in Markdown."""

from collections.abc import Iterable, Sequence


def table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [_line(titles), "|".join(["", *("---" for _ in titles), ""]), *map(_line, lines)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def percent(value: float | None) -> str:
    """A share as text; a dash where it was not measured."""
    return "-" if value is None else f"{100 * value:.0f} %"
