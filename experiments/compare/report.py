"""The report of a comparison: one page of HTML, JSON and figures."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from attention_jax.analysis import pages
from attention_jax.analysis.plots import style
from attention_jax.core.files import write_whole
from experiments.compare import plots, summary, verdict

_MATCHES = {
    "parameters": "as many parameters as the first, by its width",
    "flops": "as many floating-point operations as the first, by its number of steps",
    "time": "the same seconds of training",
    "steps": "the same number of steps",
}


class Drawn(NamedTuple):
    """A figure as PNG, for either ground."""

    light: bytes
    dark: bytes


class Table(NamedTuple):
    """Rows of words under a header."""

    header: tuple[str, ...]
    rows: summary.Rows


def write(found: dict[str, Any], folder: Path) -> None:
    """Writes report.json, report.html and the figures."""
    write_whole(folder / "report.json", json.dumps(found, indent=2) + "\n")
    drawn = draw(found)
    for name, figure in drawn.items():
        write_whole(folder / f"{name}.png", figure.light)
    write_whole(folder / "report.html", page(found, drawn) + "\n")


def draw(found: dict[str, Any]) -> dict[str, Drawn]:
    """The figures by name, those that have anything to show."""
    both = {
        name: [drawing(found, theme) for theme in (style.LIGHT, style.DARK)]
        for name, drawing in plots.DRAWINGS.items()
    }
    return {
        name: Drawn(*(style.png(figure) for figure in figures if figure is not None))
        for name, figures in both.items()
        if figures[0] is not None
    }


def page(found: dict[str, Any], drawn: dict[str, Drawn]) -> str:
    """The page, one file with all it shows.

    Args:
      found: the numbers.
      drawn: figures by name.
    """
    return pages.render(
        Path(__file__).with_name("report.html"),
        title=f"Comparison on {found['task']}",
        found=found,
        names=verdict.order(found),
        verdict=verdict.first(found),
        others=verdict.others(found),
        rule=verdict.RULE,
        command=found.get("command"),
        match=_matched(found),
        notes=summary.notes(found),
        remarks=summary.remarks(found),
        candidates=Table(summary.HEADER, summary.candidate_rows(found)),
        measure=summary.measure(found),
        tests=sections(found),
        lengths=length_table(found),
        claims=summary.claims(found),
        drawn=drawn,
        maps={
            name: _existing(found.get("attention_maps", {}).get(name, []))
            for name in verdict.order(found)
        },
        runs=run_table(found),
    )


def _matched(found: dict[str, Any]) -> str:
    """The share that all have alike, and who has not."""
    match, others = _MATCHES[found["options"]["match"]], summary.unmatched(found)
    return match + (f", except {', '.join(others)}" if others else "")


def sections(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Scores, verdicts and guess of each test."""
    return [
        {
            "name": name,
            "scores": summary.score_rows(found, test),
            "verdicts": summary.verdicts(test),
            "guess": summary.guess(test),
        }
        for name, test in found["tests"].items()
    ]


def length_table(found: dict[str, Any]) -> Table:
    """The numbers of quality against length."""
    names = verdict.order(found)
    rows: summary.Rows = [
        (
            f"{summary.bounds(b)}{' (beyond training)' if b['beyond'] else ''}",
            str(b["sentences"]),
            *(summary.shown(b["scores"].get(name)) for name in names),
        )
        for b in found["lengths"]["buckets"]
    ]
    return Table(("tokens", "sentences", *names), rows)


def run_table(found: dict[str, Any]) -> Table:
    """Every run, those of rates that were tried and failed ones too."""
    header = ("candidate", "rate", "seed", "ended", "validation loss", "counts", "reason")
    apart = summary.own_tokens(found)
    return Table(header, [_run_row(run, run["candidate"] in apart) for run in found["runs"]])


def _run_row(run: dict[str, Any], has_own_tokens: bool) -> tuple[str, ...]:
    loss, tokens = run["validation_loss"], " of its own tokens" * has_own_tokens
    return (
        run["candidate"],
        f"{run['learning_rate']:g}",
        str(run["seed"]),
        run["status"],
        "-" if loss is None else f"{loss:.4f}{tokens}",
        "yes" if run["counts"] else "no",
        run["reason"],
    )


def _existing(paths: list[str]) -> list[bytes]:
    """Attention maps that runs drew, as far as they are still there."""
    return [Path(path).read_bytes() for path in paths if Path(path).exists()]
