"""Report of the attention benchmark: lines of a table, a summary in a few numbers, a figure."""

import statistics
from os import PathLike
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attention_jax.analysis.plots import style
from experiments.benchmark.attention import SIDES
from experiments.benchmark.attention_cases import BOTH, FORWARD, GRADIENT, GRID, HVP
from experiments.benchmark.rows import OURS, Row
from experiments.benchmark.rows import number as as_text
from experiments.common.timing import Ratio

PLAIN = ("full", "causal", "window", "alibi", "documents", "gqa")
TORCH = SIDES[1:]
_COLORS = dict(zip(GRID, (*style.COLORS, "#7b4ea3"), strict=True))
_MARKERS = dict(zip(GRID, (*style.MARKERS, "X"), strict=True))
_TITLES = {"jax_nn": "jax.nn", "torch_sdpa": "SDPA", "torch_flex": "flex", "torch_direct": "direct"}

_SHORT = {FORWARD: "fwd", BOTH: "fwd+bwd", GRADIENT: "grad", HVP: "hvp"}
_SHORT |= {"float32": "f32", "bfloat16": "bf16"}


def header() -> str:
    """The first line of the table; the last ratio is to flex_attention or to the bare equation."""
    return (
        f"{'':<15}{'case':<13}{'batch x N':>10}{'heads':>8} {'type':<5}{'':<8}{'ours ms':>9}"
        f"{'jax.nn/ours':>19}{'SDPA/ours':>19}{'flex, direct/ours':>19}"
        f"{'peak %':>7}{'faults':>8}{'compile s':>10}{'MB':>8}{'of jax.nn':>10}{'error':>8}"
    )


def line(row: Row, *, number: int, count: int, minutes_left: float) -> str:
    """A row of the table; ratios with their lowest and highest."""
    case, ours, beside = row.case, row.facts[OURS], row.facts.get("jax_nn", {})
    error = max(ours.get("error", {"": None}).values())
    place, dtype = f"{case['batch']} x {case['length']}", _SHORT[case["dtype"]]
    heads = f"{case['heads']}/{case['kv_heads']}x{case['width']}"
    name = f"short {case['case']}" if case["group"] == "short" else case["case"]
    name = "long" if case["group"] == "long" else name
    last = "torch_flex" if "torch_flex" in row.ratio else "torch_direct"
    share = None if row.share_of_peak is None else 100 * row.share_of_peak
    return (
        f"{f'{number}/{count} {minutes_left:.0f} min':<15}{name:<13}{place:>10}{heads:>8} "
        f"{dtype:<5}{_SHORT[case['direction']]:<8}{as_text(row.ours_ms, '.2f'):>9}"
        + "".join(f"{_ratio(row.ratio.get(x)):>19}" for x in ("jax_nn", "torch_sdpa", last))
        + f"{as_text(share, '.0f'):>7}{as_text(row.faults, ',.0f'):>8}"
        + f"{as_text(ours.get('compile_seconds'), '.1f'):>10}{_megabytes(row.temporary_bytes):>8}"
        + f"{_megabytes(beside.get('temporary_bytes')):>10}{as_text(error, '.0e'):>8}"
    )


def reasons(row: Row) -> list[str]:
    """The reasons why sides were not measured, a line each."""
    return [f"{_TITLES.get(side, side)} {reason}" for side, reason in row.not_measured.items()]


def _ratio(ratio: Ratio | None) -> str:
    return f"{ratio.median:.2f} ({ratio.lowest:.2f}-{ratio.highest:.2f})" if ratio else "-"


def _megabytes(size: int | None) -> str:
    return as_text(None if size is None else size / 1e6, ".1f")


def summary(rows: list[Row]) -> dict[str, Any]:
    """The rows in a few numbers, each with how many rows it is of."""
    main = _having(rows, group=PLAIN, dtype=("float32",))
    main = [row for row in main if 512 <= row.case["length"] <= 8192]
    found: dict[str, Any] = {}
    for direction in (FORWARD, BOTH):
        part = _having(main, direction=(direction,))
        found[f"torch_sdpa_over_ours_{direction}"] = _means(part, ("torch_sdpa",))
        found[f"torch_fastest_over_ours_{direction}"] = _means(part, TORCH)
    found["torch_sdpa_over_ours"] = _means(main, ("torch_sdpa",))
    forward = _having(rows, group=("causal",), direction=(FORWARD,))
    parts = {"causal_forward_from_1024": [row for row in forward if row.case["length"] >= 1024]}
    parts |= {name: _having(rows, group=(name,)) for name in ("short", "decode")}
    for name, part in parts.items():
        found[f"jax_nn_over_ours_{name}"] = _means(part, ("jax_nn",))
    return found | {"accuracy": _accuracy(rows)}


def _having(rows: list[Row], **values: tuple[str, ...]) -> list[Row]:
    return [row for row in rows if row.matches(values)]


def _means(rows: list[Row], sides: tuple[str, ...]) -> dict[str, Any]:
    """Geometric mean and lowest of the ratios, each of the fastest of `sides` in its row."""
    ratios = {_title(row): best for row in rows if (best := fastest(row, sides)) is not None}
    if not ratios:
        return {"count": 0}
    lowest = min(ratios, key=lambda name: ratios[name])
    return {
        "count": len(ratios),
        "geometric_mean": statistics.geometric_mean(ratios.values()),
        "lowest": ratios[lowest],
        "lowest_at": lowest,
    }


def fastest(row: Row, sides: tuple[str, ...]) -> float | None:
    """The ratio to ours of the fastest of `sides`; None where none was measured."""
    return min((row.ratio[side].median for side in sides if side in row.ratio), default=None)


def _title(row: Row) -> str:
    case = row.case
    names = dict.fromkeys((case["group"], case["case"]))
    return (
        f"{' '.join(names)}, {case['batch']} x {case['length']}, {case['heads']} heads "
        f"of {case['width']}, {case['dtype']}, {case['direction']}"
    )


def _accuracy(rows: list[Row]) -> dict[str, Any]:
    """Largest errors by dtype; of ours beside `jax.nn`, where both were measured."""
    found: dict[str, Any] = {}
    for dtype in sorted({row.case["dtype"] for row in rows}):
        sides = [row.facts for row in _having(rows, dtype=(dtype,)) if "error" in row.facts[OURS]]
        errors = [error for side in sides for error in side[OURS]["error"].values()]
        pairs = [
            (side[OURS]["error"][name], error)
            for side in sides
            for name, error in side.get("jax_nn", {}).get("error", {}).items()
        ]
        found[dtype] = {
            "count": len(errors),
            "largest": max(errors, default=None),
            "beside_jax_nn": len(pairs),
            "worse_than_jax_nn": sum(ours > theirs for ours, theirs in pairs),
            "largest_over_jax_nn": max((a / b for a, b in pairs if b), default=None),
        }
    return found


def plot(rows: list[Row], path: str | PathLike[str] | None = None) -> Figure:
    """Draws torch's time over ours against the length, a panel for each direction and dtype.

    A line is a case, beside the fastest that torch has for it; above 1 ours is faster.

    Args:
      rows: all that were measured.
      path: the file to write; its suffix names the format.
    """
    rows = [row for row in _having(rows, group=GRID) if fastest(row, TORCH) is not None]
    dtypes = sorted({row.case["dtype"] for row in rows}, reverse=True) or ["float32"]
    size = (11.0, 0.8 + 3.6 * len(dtypes))
    figure, panels = style.figure(len(dtypes), 2, size=size, share_x=True, share_y=True)
    for dtype, pair in zip(dtypes, panels, strict=True):
        for direction, axes in zip((FORWARD, BOTH), pair, strict=True):
            _draw(axes, _having(rows, dtype=(dtype,), direction=(direction,)))
            style.length_axis(axes, sorted({row.case["length"] for row in rows}))
            style.log_axis(axes, base=2)
            axes.axhline(1, color=style.FAINT, linewidth=1.2, linestyle="--")
            axes.tick_params(labelbottom=True)
            style.panel(axes, f"{direction}, {dtype}")
    for axes in panels[-1]:
        axes.set_xlabel("length of the sequence")
    for axes in panels[:, 0]:
        axes.set_ylabel("time of torch / time of ours")
    drawn = {text: mark for axes in panels.flat for mark, text in _legend(axes)}
    if drawn:
        names = [name for name in GRID if name in drawn]
        marks = [drawn[name] for name in names]
        figure.legend(marks, names, loc="outside right upper", frameon=False, fontsize=9)
    return style.saved(figure, path)


def _draw(axes: Axes, rows: list[Row]) -> None:
    for case in GRID:
        own = sorted(_having(rows, case=(case,)), key=lambda row: row.case["length"])
        if own:
            axes.plot(
                [row.case["length"] for row in own],
                [fastest(row, TORCH) for row in own],
                color=_COLORS[case],
                marker=_MARKERS[case],
                markersize=5,
                linewidth=1.6,
                label=case,
            )


def _legend(axes: Axes) -> list[tuple[Any, str]]:
    return list(zip(*axes.get_legend_handles_labels(), strict=True))
