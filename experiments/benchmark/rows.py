"""Results of a benchmark in one form: rows of times beside peers, with the machine they are of.

    results = rows.start("decoding")
    for job in jobs:
        calls = {"ours": ours, "hugging_face": theirs}
        results = rows.added(results, rows.measure("decoding", job._asdict(), calls, repeats=7))
        rows.write(results, output)
    rows.write(rows.finished(results), output)

The file is `{"form": 1, "suite", "environment", "peak_gflops", "rows"}`. A number that was not
measured is null there.
"""

import json
import os
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from attention_jax.core.files import write_whole
from experiments.benchmark.machine import environment, matrix_peak
from experiments.common import timing
from experiments.common.timing import Ratio

FORM = 1
OURS = "ours"

Call = Callable[[], object]


class Row(NamedTuple):
    """One measured case.

    Attributes:
      suite: the suite it belongs to.
      case: its settings, from which it can be told from all other rows.
      ours_ms: median time of a call of ours.
      peer_ms: median time of a call of each peer.
      ratio: time of each peer over ours, pair by pair; above 1 ours is faster.
      faults: minor page faults of a call of ours, median.
      temporary_bytes: temporary memory of the compiled program of ours.
      flops: floating-point operations of the matrix products that a call needs.
      share_of_peak: `flops` over `ours_ms`, as a share of the machine's matrix peak.
      repeats: counted calls of each side.
      not_measured: for each side that has no time, why.
      facts: further numbers that one suite alone has.
    """

    suite: str
    case: dict[str, Any]
    ours_ms: float | None = None
    peer_ms: dict[str, float] = {}
    ratio: dict[str, Ratio] = {}
    faults: float | None = None
    temporary_bytes: int | None = None
    flops: float | None = None
    share_of_peak: float | None = None
    repeats: int = 0
    not_measured: dict[str, str] = {}
    facts: dict[str, Any] = {}

    @property
    def fastest_peer(self) -> str | None:
        """The peer with the lowest median time; None without peers."""
        return min(self.peer_ms, key=lambda name: self.peer_ms[name], default=None)

    @property
    def to_fastest_peer(self) -> Ratio | None:
        """Time of the fastest peer over ours; None where either was not measured."""
        name = self.fastest_peer
        return None if name is None else self.ratio.get(name)

    def matches(self, case: Mapping[str, Container[Any]]) -> bool:
        """True where each setting is among those that are allowed."""
        return all(name in self.case and self.case[name] in case[name] for name in case)


class Results(NamedTuple):
    """All rows of a run of a suite.

    Attributes:
      suite: the suite.
      environment: machine and versions, as `machine.environment` gives them.
      peak_gflops: the machine's matrix peak at the beginning of the run, and at its end.
      rows: in the order in which they were measured.
    """

    suite: str
    environment: dict[str, Any]
    peak_gflops: tuple[float, ...]
    rows: tuple[Row, ...] = ()


def measure(suite: str, case: Mapping[str, Any], calls: Mapping[str, Call], **how: Any) -> Row:
    """A row of calls in turn, as `timing.interleaved` times them.

    Args:
      suite: the suite.
      case: settings of the case.
      calls: by side; "ours" is ours, each other a peer.
      how: `repeats`, and the other keywords of `timing.interleaved`.
    """
    return from_times(suite, case, timing.interleaved(calls, **how))


def from_times(suite: str, case: Mapping[str, Any], times: Mapping[str, timing.Times]) -> Row:
    """The row of calls that were timed in turn."""
    ours = times.get(OURS)
    peers = {name: own for name, own in times.items() if name != OURS}
    return Row(
        suite=suite,
        case=dict(case),
        ours_ms=ours and 1e3 * ours.median,
        peer_ms={name: 1e3 * own.median for name, own in peers.items()},
        ratio={name: own.over(ours) for name, own in peers.items()} if ours else {},
        faults=ours and ours.median_faults,
        repeats=max((len(own.seconds) for own in times.values()), default=0),
        facts={"first_call_seconds": ours.first} if ours else {},
    )


def start(suite: str) -> Results:
    """Results without rows; measures the machine's matrix peak."""
    return Results(suite, environment(), (matrix_peak(),))


def resumed(suite: str, path: str | None) -> Results:
    """Results with the rows that an earlier run of the suite wrote there, if any."""
    begun = start(suite)
    if path is None or not Path(path).exists():
        return begun
    earlier = read(path)
    return begun._replace(peak_gflops=(*earlier.peak_gflops, *begun.peak_gflops), rows=earlier.rows)


def added(results: Results, *rows: Row) -> Results:
    """The results with further rows, whose share of the peak is known so far."""
    return _shared(results._replace(rows=(*results.rows, *rows)))


def finished(results: Results) -> Results:
    """The results of a run that is over; the peak is measured again, and the higher one counts."""
    return _shared(results._replace(peak_gflops=(*results.peak_gflops, matrix_peak())))


def _shared(results: Results) -> Results:
    peak = max(results.peak_gflops, default=0.0) * 1e9
    return results._replace(rows=tuple(_with_share(row, peak) for row in results.rows))


def _with_share(row: Row, peak: float) -> Row:
    if not (peak and row.flops and row.ours_ms):
        return row
    return row._replace(share_of_peak=row.flops / (row.ours_ms / 1e3) / peak)


def write(results: Results, path: str | None) -> None:
    """Replaces the file of results, where one is asked for."""
    if path:
        write_whole(path, to_text(results))


def to_text(results: Results) -> str:
    """The one form of all suites, as JSON with a line for each row."""
    whole = {"form": FORM, **results._asdict()}
    del whole["rows"]
    head = json.dumps(whole, indent=1, allow_nan=False).removesuffix("\n}")
    own = ",\n".join(json.dumps(_row_to_json(row), allow_nan=False) for row in results.rows)
    return f'{head},\n "rows": [\n{own}\n]}}\n'


def _row_to_json(row: Row) -> dict[str, Any]:
    own = row._asdict()
    del own["suite"]
    return own | {"ratio": {name: ratio._asdict() for name, ratio in row.ratio.items()}}


def read(path: str | os.PathLike[str]) -> Results:
    """The results that a file holds.

    Raises:
      ValueError: the file is of another form.
    """
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    if found.get("form") != FORM:
        raise ValueError(
            f"{Path(path).name} must be results of form {FORM}; got {found.get('form')!r}. "
            "Measure them again by scripts/bench."
        )
    suite = found["suite"]
    rows = tuple(
        Row(suite, **row | {"ratio": {name: Ratio(**own) for name, own in row["ratio"].items()}})
        for row in found["rows"]
    )
    return Results(suite, found["environment"], tuple(found["peak_gflops"]), rows)


def costs(row: Row) -> str:
    """Share of the matrix peak, page faults and temporary memory of a row, as far as known."""
    found = []
    if row.share_of_peak is not None:
        found.append(f"{100 * row.share_of_peak:.0f} % of the matrix peak")
    if row.faults is not None:
        found.append(f"{row.faults:,.0f} page faults")
    if row.temporary_bytes is not None:
        found.append(f"{row.temporary_bytes / 1e6:,.1f} MB temporary")
    return ", ".join(found)


def reasons(row: Row) -> list[str]:
    """The reasons why sides were not measured, a line each."""
    return [f"{side} {reason}" for side, reason in row.not_measured.items()]


def failure(error: Exception) -> str:
    """An error of any library in one line, its kind first."""
    text = str(error).strip() or "no message"
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}"


def number(value: float | None, form: str = ",.0f") -> str:
    """A number as text; a dash where it was not measured."""
    return "-" if value is None else f"{value:{form}}"


def spread(ratio: Ratio | None) -> str:
    """A ratio with its lowest and highest; a dash where there is none."""
    if ratio is None:
        return "-"
    return f"{ratio.median:.2f} ({ratio.lowest:.2f} to {ratio.highest:.2f})"
