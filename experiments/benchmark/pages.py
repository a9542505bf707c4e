"""Writes the tables of docs/results/speed.md, or of another page, from the results of benchmarks.

    python -m experiments.benchmark.pages
    python -m experiments.benchmark.pages --page=docs/results/several_devices.md

A table stands between `<!-- table: NAME -->` and `<!-- end: NAME -->`, where NAME is one of
`TABLES`; the text around is written by hand. Results are those of experiments/results.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from attention_jax.core.files import write_whole
from attention_jax.parallel.mesh import AXES
from experiments.benchmark import caches, mesh_memory, rows, token_speed, weak_scaling
from experiments.benchmark.attention_cases import BOTH, FORWARD
from experiments.benchmark.attention_pairs import SETTINGS, mean
from experiments.benchmark.rows import Results, Row, number, spread
from experiments.benchmark.variants import LENGTHS, growth
from experiments.common import flags
from experiments.common.config import DeviceFlags
from experiments.common.markdown import percent, table

_STATES = "sums and states"  # a family of variants
_PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end: \2 -->)", re.DOTALL)


class Table(NamedTuple):
    """A table.

    Attributes:
      file: of the results.
      make: its lines of Markdown.
    """

    file: str
    make: Callable[[Results], Iterable[str]]


class PagesConfig(NamedTuple):
    """Tables of a page.

    Attributes:
      page: the file to rewrite.
      results: the folder of results.
    """

    page: str = "docs/results/speed.md"
    results: str = "experiments/results"


def main() -> None:
    """Rewrites the tables of --page."""
    config = flags.config_from_flags(PagesConfig())
    page = Path(config.page)
    write_whole(page, rewritten(page.read_text(encoding="utf-8"), Path(config.results)))


def rewritten(text: str, results: Path) -> str:
    """A page with its tables made anew.

    Raises:
      ValueError: a table is unknown, or its place has no end.
    """
    begun = re.findall(r"<!-- table: (.*?) -->", text)
    known = [name for _, name, _ in _PLACE.findall(text)]
    if begun != known:
        lost = next(name for name in begun if name not in known)
        raise ValueError(f"`<!-- table: {lost} -->` must be followed by `<!-- end: {lost} -->`.")
    for name in known:
        if name not in TABLES:
            raise ValueError(f"`<!-- table: -->` must be one of {', '.join(TABLES)}; got {name}.")
    return _PLACE.sub(lambda place: place[1] + _table(place[2], results) + place[3], text)


def _table(name: str, results: Path) -> str:
    table = TABLES[name]
    return "".join(f"{line}\n" for line in table.make(rows.read(results / table.file)))


_TRAINING = {
    "nanogpt_small": "language model, 4 layers, width 128",
    "nanogpt_medium": "language model, 6 layers, width 384",
    "transformer_tiny": "Transformer, 4 + 4 layers, width 128",
    "transformer_512": "Transformer, 3 + 3 layers, width 512",
    "gru_additive": "GRU, width 256, additive attention, input feeding",
    "lstm_plain": "LSTM, width 256, without attention",
    "vit": "Vision Transformer, 3 layers, width 64",
    "speech": "speech Transformer, 4 + 1 layers, width 128",
}


def training(results: Results) -> list[str]:
    """Training steps, a model in each line."""
    titles = (
        "training step",
        "ours, ms",
        "PyTorch, eager",
        "PyTorch, compiled",
        "matrix products alone",
        "matrix peak",
        "page faults",
        "temporary MB",
    )
    return table(titles, map(_training_line, results.rows))


def _training_line(row: Row) -> tuple[str, ...]:
    size = row.temporary_bytes
    return (
        _TRAINING[row.case["model"]],
        number(row.ours_ms, ",.1f"),
        spread(row.ratio.get("torch")),
        spread(row.ratio.get("torch_compile")),
        percent(row.facts.get("share_of_limit")),
        percent(row.share_of_peak),
        number(row.faults),
        number(None if size is None else size / 1e6),
    )


def pairs(results: Results) -> list[str]:
    """Time of the fastest peer over ours: all pairs, then by each setting."""
    titles = ("mean (lowest) of rows with", "forward", "forward and backward")
    lines = [("all", *_both_ways(results.rows, {}))]
    for name, values in SETTINGS.items():
        lines += [
            (f"{name} {value}", *_both_ways(results.rows, {name: (value,)})) for value in values
        ]
    return table(titles, lines)


def _both_ways(measured: Sequence[Row], case: dict[str, tuple[Any, ...]]) -> Iterator[str]:
    for direction in (FORWARD, BOTH):
        found = mean([row for row in measured if row.matches(case | {"direction": (direction,)})])
        known = found["count"]
        yield f"{found['geometric_mean']:.2f} ({found['lowest']:.2f})" if known else "-"


def attention(results: Results) -> list[str]:
    """Attention beside its peers, a case, length and direction in each line."""
    sides = {
        "jax_nn": "jax.nn",
        "torch_sdpa": "SDPA",
        "torch_flex": "flex",
        "torch_direct": "direct",
    }
    titles = ("case, keys, direction", "ours, ms", *sides.values(), "temporary MB")
    lines = [
        (
            "{case}, {batch} x {length:,}, {direction}".format(**row.case),
            number(row.ours_ms, ",.1f"),
            *(number(x and x.median, ".2f") for x in map(row.ratio.get, sides)),
            number(row.temporary_bytes and row.temporary_bytes / 1e6, ",.0f"),
        )
        for row in results.rows
        if row.ours_ms
    ]
    return table(titles, lines)


def start(results: Results) -> list[str]:
    """Seconds until programs have begun."""
    lines = [
        (
            ", ".join(str(row.case[name]) for name in ("program", "cache") if name in row.case),
            number(row.ours_ms and row.ours_ms / 1e3, ".2f"),
            " to ".join(f"{row.facts[f'{end}_ms'] / 1e3:.2f}" for end in ("lowest", "highest")),
        )
        for row in results.rows
    ]
    return table(("", "seconds", "lowest to highest"), lines)


def states(results: Results) -> list[str]:
    """Variants that keep sums or states, as sequences grow: forward / forward and backward."""
    own = [row for row in results.rows if row.case["family"] == _STATES]
    ends = min(LENGTHS), max(LENGTHS)
    titles = (
        "forward / forward and backward",
        *(f"ms at {length:,}" for length in ends),
        "growth of time",
        f"MB at {ends[1]:,}",
        "growth of memory",
    )
    return table(
        titles, (_states_line(name, own, grown) for name, grown in sorted(growth(own).items()))
    )


def _states_line(name: str, measured: Sequence[Row], grown: dict[str, Any]) -> tuple[str, ...]:
    ways = [
        {
            row.case["length"]: row
            for row in measured
            if (row.case["variant"], row.case["direction"]) == (name, direction)
        }
        for direction in (FORWARD, BOTH)
    ]
    first, last = min(LENGTHS), max(LENGTHS)
    sizes = [way[last].temporary_bytes for way in ways]
    return (
        name,
        _both(ways[0][first].ours_ms, ways[1][first].ours_ms, ",.1f"),
        _both(ways[0][last].ours_ms, ways[1][last].ours_ms, ",.1f"),
        _both(grown[FORWARD]["seconds"], grown[BOTH]["seconds"], ".2f"),
        _both(*(None if size is None else size / 1e6 for size in sizes), ",.0f"),
        _both(grown[FORWARD]["temporary_bytes"], grown[BOTH]["temporary_bytes"], ".2f"),
    )


def _both(forward: float | None, both: float | None, form: str) -> str:
    return f"{number(forward, form)} / {number(both, form)}"


TABLES: dict[str, Table] = {
    "training": Table("training_speed.json", training),
    "attention": Table("attention_speed.json", attention),
    "pairs": Table("attention_pairs_speed.json", pairs),
    "start": Table("start_speed.json", start),
    "states": Table("variants_speed.json", states),
    "caches": Table("cache_bytes.json", caches.lines),
    "tokens": Table("token_speed.json", token_speed.lines),
    "mesh_memory": Table("mesh_memory.json", mesh_memory.lines),
    **{
        f"weak_{axis}": Table("weak_scaling.json", partial(weak_scaling.lines, axis=axis))
        for axis in AXES
    },
}


if __name__ == "__main__":
    flags.launch(main, PagesConfig(), DeviceFlags())
