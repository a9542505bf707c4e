"""The report of a comparison: one page of HTML, JSON and pictures."""

import base64
import html
import json
from pathlib import Path
from typing import Any

from experiments.compare import plots
from experiments.compare import summary as text
from experiments.compare.plan import write_whole

_STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f9; --card: #ffffff; --ink: #1c2128;
  --faint: #59636e; --line: #d5dae1; --bad: #a40e26; }
@media (prefers-color-scheme: dark) { :root { --ground: #0f1216; --card: #191d23; --ink: #e4e8ed;
  --faint: #a0a9b4; --line: #333b45; --bad: #ff8f8f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem clamp(.75rem, 3vw, 2.5rem) 3rem; max-width: 72rem;
  background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; }
h2 { margin: 2rem 0 .5rem; font-size: 1.2rem; }
p, li { max-width: 52rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; background: var(--card); }
th, td { padding: .3rem .7rem; border: 1px solid var(--line); text-align: right;
  white-space: nowrap; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
td.words { text-align: left; white-space: normal; min-width: 16rem; }
thead th { color: var(--faint); font-weight: 600; }
img { display: block; max-width: 100%; height: auto; background: var(--card); padding: .5rem;
  border: 1px solid var(--line); border-radius: .5rem; }
img.white { background: #ffffff; }
figure { margin: .8rem 0; }
figcaption, .faint { color: var(--faint); font-size: .9rem; }
.bad { color: var(--bad); }
"""
_MATCHES = {
    "parameters": "as many parameters as the first, by its width",
    "flops": "as many floating-point operations as the first, by its number of steps",
    "time": "the same seconds of training",
    "steps": "the same number of steps",
}

Drawn = dict[str, list[bytes]]  # pictures by name, for light and for dark ground


def write(found: dict[str, Any], folder: Path) -> None:
    """Writes report.json, report.html and the pictures."""
    write_whole(folder / "report.json", json.dumps(found, indent=2))
    drawn: Drawn = {}
    for name, draw in plots.DRAWINGS.items():
        both = []
        for palette in (plots.LIGHT, plots.DARK):
            figure = draw(found, palette)
            both += [] if figure is None else [plots.png(figure, palette)]
        if both:
            (folder / f"{name}.png").write_bytes(both[0])
            drawn[name] = both
    write_whole(folder / "report.html", page(found, drawn))


def page(found: dict[str, Any], drawn: Drawn) -> str:
    """The page; it needs nothing but itself.

    Args:
      drawn: pictures by name, for light and for dark ground.
    """
    parts = (_what_each_had, _quality, _costs_and_curves, _focus_and_runs)
    title = f"<title>Comparison on {_plain(found['task'])}</title>"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{title}\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(line for part in parts for line in part(found, drawn))
        + "\n</body>\n</html>"
    )


def _what_each_had(found: dict[str, Any], drawn: Drawn) -> list[str]:
    del drawn
    options = found["options"]
    return [
        f"<h1>{_plain(', '.join(found['candidates']))}</h1>",
        f'<p class="faint">Task {_plain(found["task"])}. All have '
        f"{_MATCHES[options['match']]}. {_rates(options['rates'])}</p>",
        "".join(f'<p class="bad">{_plain(line)}</p>' for line in text.remarks(found)),
        "<h2>What each had</h2>",
        _table(text.HEADER, text.candidate_rows(found)),
        "<p class='faint'>FLOPs are those of all steps, by the compiler's count for each length of "
        "batch. Seconds hold evaluations, which all make at the same shares of their steps. "
        "Tokens are those of targets. Peak memory is of the process, or of its accelerator.</p>",
    ]


def _quality(found: dict[str, Any], drawn: Drawn) -> list[str]:
    tests = "".join(
        f"<h3>{_plain(name)}: {_plain(text.measure(found))}</h3>"
        + _table(("candidate", "mean", "runs"), text.score_rows(found, test))
        + _list_of(text.verdicts(test))
        for name, test in found["tests"].items()
    )
    return [
        f"<h2>Quality</h2>{tests}",
        "<p class='faint'>Intervals are Student's over runs. One stands above another only where "
        "their intervals do not meet. The difference over items and its p-value are of a "
        "paired bootstrap: test items, such as sentences, are drawn anew, runs stay. The p-value "
        "for all pairs is Holm's.</p>",
        _figure("scores", drawn, "Mean of each candidate with its interval; ticks are runs."),
        *_by_length(found, drawn),
    ]


def _by_length(found: dict[str, Any], drawn: Drawn) -> list[str]:
    if not found["lengths"]["buckets"]:
        return []
    return [
        "<h2>Quality against length</h2>",
        _figure("by_length", drawn, "Score of sentences of like lengths, with intervals."),
        length_table(found),
    ]


def _costs_and_curves(found: dict[str, Any], drawn: Drawn) -> list[str]:
    caption = "Costs of each candidate as sentences grow: median, lowest and highest call."
    return [
        "<h2>What the numbers say</h2>",
        _list_of(text.claims(found)),
        "<h2>Cost against length</h2>",
        _figure("costs", drawn, caption) or "<p>Not measured.</p>",
        "<h2>Learning curves</h2>",
        _figure("curves", drawn, "Validation by step and by second, means of runs."),
    ]


def _focus_and_runs(found: dict[str, Any], drawn: Drawn) -> list[str]:
    del drawn
    return [
        "<h2>Focus: where attention looks</h2>",
        "<p class='faint'>Source tokens in effect are e to the entropy of the weights: 1 where all "
        "weight is on one token.</p>",
        _alignments(found),
        f"<h2>All runs</h2>{run_table(found)}",
        f'<p class="faint">{_plain(_environment(found["environment"]))}</p>',
    ]


def _rates(tried: list[str]) -> str:
    if len(tried) < 2:
        return "No learning rate was searched for: each has the one that flags name."
    return (
        f"Learning rates tried by each, with the first seed: {', '.join(tried)}; the best by "
        "validation loss is kept."
    )


def length_table(found: dict[str, Any]) -> str:
    """The numbers of quality against length."""
    buckets = found["lengths"]["buckets"]
    rows: text.Rows = [
        (
            f"{text.bounds(b)}{' (beyond training)' if b['beyond'] else ''}",
            str(b["sentences"]),
            *(text.shown(b["scores"].get(name)) for name in found["candidates"]),
        )
        for b in buckets
    ]
    return _table(("tokens", "sentences", *found["candidates"]), rows)


def run_table(found: dict[str, Any]) -> str:
    """Every run, those of rates that were tried and failed ones too."""
    rows = []
    for run in found["runs"]:
        loss = run["validation_loss"]
        rows.append(
            (
                run["candidate"],
                f"{run['learning_rate']:g}",
                str(run["seed"]),
                run["status"],
                "-" if loss is None else f"{loss:.4f}",
                "yes" if run["counts"] else "no",
                run["reason"],
            )
        )
    header = ("candidate", "rate", "seed", "ended", "validation loss", "counts", "reason")
    return _table(header, rows, words=(6,))


def _alignments(found: dict[str, Any]) -> str:
    parts = []
    for name, paths in found["pictures"].items():
        if not paths:
            parts.append(f"<p>{_plain(name)} has no attention to look at, or no run.</p>")
        for path in paths:
            if Path(path).exists():
                parts.append(
                    f'<figure><img class="white" alt="Attention of {_plain(name)}" '
                    f'src="{_data(Path(path).read_bytes())}">'
                    f"<figcaption>{_plain(name)}, first run</figcaption></figure>"
                )
    return "".join(parts)


def _environment(x: dict[str, Any]) -> str:
    return (
        f"attention_jax {x['attention_jax']}, jax {x['jax']}, Python {x['python']}, "
        f"{x['machine']}, {x['cores']} cores, {', '.join(x['devices'])}. Every number is in "
        "report.json."
    )


def _figure(name: str, drawn: Drawn, caption: str) -> str:
    if name not in drawn:
        return ""
    light, dark = (_data(picture) for picture in drawn[name])
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img alt="{_plain(caption)}" src="{light}"></picture>'
        f"<figcaption>{_plain(caption)}</figcaption></figure>"
    )


def _data(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def _table(header: tuple[str, ...], rows: text.Rows, *, words: tuple[int, ...] = ()) -> str:
    def cell(number: int, words_of_it: str) -> str:
        kind = ' class="words"' if number in words else ""
        return f"<td{kind}>{_plain(words_of_it)}</td>"

    head = "".join(f"<th>{_plain(x)}</th>" for x in header)
    body = "".join(f"<tr>{''.join(cell(i, x) for i, x in enumerate(row))}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _list_of(lines: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{_plain(line)}</li>' for line in lines)}</ul>" if lines else ""


def _plain(words: str) -> str:
    return html.escape(words)
