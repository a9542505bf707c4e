"""A page of all comparisons under a folder: sortable, with the command of each."""

import os
from pathlib import Path
from typing import Any

from attention_jax.analysis import pages
from attention_jax.core.files import write_whole
from experiments.compare import old_reports, summary, verdict

PAGE = "leaderboard.html"
# The heads of the columns, and whether they hold numbers.
HEADER = (
    ("comparison", False),
    ("candidate", False),
    ("score", True),
    ("low", True),
    ("high", True),
    ("of", False),
    ("learned", False),
    ("runs", True),
    ("parameters", True),
    ("steps", True),
    ("seconds", True),
)


def write(folder: Path) -> tuple[Path, int]:
    """Writes the page into a folder; says where, and how many comparisons it has.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: there is no comparison under it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"`--leaderboard` must name a folder; {folder} is none.")
    found = {path: old_reports.read(path) for path in reports(folder)}
    finished = {
        path: x for path, x in found.items() if any(t["scores"] for t in x["tests"].values())
    }
    if not finished:
        raise ValueError(
            f"`--leaderboard` must name a folder of comparisons; under {folder} none has a scored "
            "run. Finish one first."
        )
    page = pages.render(
        Path(__file__).with_name("leaderboard.html"),
        title="Comparisons",
        header=HEADER,
        rows=[row for path, x in finished.items() for row in rows(path, x, folder)],
        comparisons=[described(path, x, folder) for path, x in finished.items()],
        rule=verdict.RULE,
    )
    write_whole(folder / PAGE, page + "\n")
    return folder / PAGE, len(finished)


def reports(folder: Path) -> list[Path]:
    """The reports under a folder, in the order of their names."""
    return sorted(path for path in folder.rglob("report.json") if _is_report(path))


def _is_report(path: Path) -> bool:
    try:
        old_reports.read(path)
    except ValueError:
        return False
    return True


def described(path: Path, found: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A comparison in its verdicts, with a link to its report and its command."""
    page = path.with_name("report.html")
    done = sum(run["status"] == "done" for run in found["runs"])
    return {
        "name": name_of(path, folder),
        "link": os.path.relpath(page, folder) if page.exists() else None,
        "verdicts": [verdict.first(found), *verdict.others(found)],
        "command": found.get("command") or "not kept by that version",
        "done": f"{done} of {len(found['runs'])} runs done",
    }


def name_of(path: Path, folder: Path) -> str:
    """A comparison by its folder."""
    relative = os.path.relpath(path.parent, folder)
    return path.parent.resolve().name if relative == "." else relative


def rows(path: Path, found: dict[str, Any], folder: Path) -> list[list[dict[str, Any]]]:
    """A row of each candidate's score on the first test, as `HEADER` has it."""
    test = next(test for test in found["tests"].values() if test["scores"])
    return [
        [_cell(text, number) for text, number in _values(found, test, name, name_of(path, folder))]
        for name in verdict.order(found)
        if name in test["scores"]
    ]


def _values(
    found: dict[str, Any], test: dict[str, Any], name: str, comparison: str
) -> list[tuple[str, float | None]]:
    """Each cell as text, and as the number by which it is sorted."""
    own, score = found["candidates"][name], test["scores"][name]
    steps, seconds = (own[x]["mean"] if own[x] else None for x in ("steps_done", "seconds"))
    ends = [("-" if x is None else f"{x:.2f}", x) for x in (score["low"], score["high"])]
    return [
        (comparison, None),
        (name, None),
        (f"{score['mean']:.2f}", score["mean"]),
        *ends,
        (summary.SCORES[found["options"]["score"]], None),
        ("yes" if test["learned"][name] else "no", None),
        (str(own["runs"]), own["runs"]),
        (f"{own['parameters']:,}", own["parameters"]),
        *(("-" if x is None else f"{x:,.0f}", x) for x in (steps, seconds)),
    ]


def _cell(text: str, number: float | None) -> dict[str, Any]:
    return {"text": text, "key": "" if number is None else repr(float(number))}
