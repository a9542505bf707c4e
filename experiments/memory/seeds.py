"""Runs that differ in their seed alone, as one: mean accuracy with an interval, and its table."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attention_jax.evaluation import ranged_intervals
from experiments.common import markdown
from experiments.memory import plots

Result = dict[str, Any]
_OF_ONE_RUN = "--seed=", "--run=", "#"  # lines of run.flags


def read(places: Iterable[Path]) -> dict[str, Result]:
    """Results by their labels: of folders of runs, or of a report of them.

    Those of one label and different flags are told apart by their folders.

    Raises:
      ValueError: a folder holds no finished run, or two are of different problems.
    """
    groups: dict[tuple[str, ...], list[tuple[Path, Result]]] = {}
    found: dict[str, Result] = {}
    for place in places:
        if place.suffix == ".json" and place.is_file():
            found |= json.loads(place.read_text(encoding="utf-8"))
        else:
            flags = _flags(place)
            result = plots.result(place) | {"flags": flags}
            groups.setdefault((plots.label(result), *flags), []).append((place, result))
    shared = Counter(label for label, *_ in groups)
    for (label, *_), runs in groups.items():
        name = label if shared[label] == 1 else f"{label} ({runs[0][0]})"
        found[name] = runs[0][1] if len(runs) == 1 else joined(runs)
    _check_one_problem(found)
    return found


def _flags(folder: Path) -> list[str]:
    file = folder / "run.flags"
    lines = file.read_text(encoding="utf-8").splitlines() if os.path.isfile(file) else [str(folder)]
    return [line for line in lines if not line.startswith(_OF_ONE_RUN)]


def _check_one_problem(found: dict[str, Result]) -> None:
    first = next(iter(found))
    for name, own in found.items():
        if own["task"] != found[first]["task"]:
            raise ValueError(
                f"`--runs` must be of one problem, for they share axes; got {first} of "
                f"{found[first]['task']} and {name} of {own['task']}. Draw them apart."
            )


def joined(runs: Sequence[tuple[Path, Result]]) -> Result:
    """One result of runs with several seeds, each with sequences of its own.

    A test's accuracy is the mean of runs, with `low` and `high` of its interval over runs and
    sequences, and `values`; counts by distance are summed.
    """
    results, first = [result for _, result in runs], runs[0][1]
    rows = [json.loads((folder / "outcomes.json").read_text()) for folder, _ in runs]
    tests = {
        name: _accuracy(
            [result["tests"][name]["accuracy"] for result in results],
            np.array([own[name]["accuracy"] for own in rows], float),
        )
        for name in first["tests"]
    }
    summed = {
        name: [
            [*bucket[0][:2], *(sum(x[i] for x in bucket) for i in (2, 3))]
            for bucket in _buckets(result["distances"][name] for result in results)
        ]
        for name in first["distances"]
    }
    seconds = float(np.median([result["seconds"] for result in results]))
    return first | {"tests": tests, "distances": summed, "seconds": seconds, "seeds": len(runs)}


def _buckets(each: Iterable[list[list[int]]]) -> Iterator[list[list[int]]]:
    """Counts of each distance, of all runs that have some."""
    by_distance: dict[int, list[list[int]]] = {}
    for rows in each:
        for row in rows:
            by_distance.setdefault(row[0], []).append(row)
    return (by_distance[low] for low in sorted(by_distance))


def _accuracy(values: Sequence[float], counts: np.ndarray) -> dict[str, Any]:
    """Mean and interval of runs, of 1, by their [runs, sequences, (right, count)]."""
    spread = ranged_intervals.item_variance(counts, lambda x: x[..., 0] / x[..., 1])
    found = ranged_intervals.interval(values, high=1.0, item_variance=spread, items=counts.shape[1])
    return {"accuracy": found.mean, "low": found.low, "high": found.high, "values": values}


def table(found: dict[str, Result]) -> str:
    """Accuracy at each length, in percent, as Markdown."""
    names = {test: length for own in found.values() for test, length in own["lengths"].items()}
    tests = sorted(names, key=names.__getitem__)
    lines = (
        (name, f"{own['parameters']:,}", *(_cell(own["tests"].get(test)) for test in tests))
        for name, own in found.items()
    )
    titles = ("model", "parameters", *(str(names[test]) for test in tests))
    return "\n".join(markdown.table(titles, lines))


def _cell(test: dict[str, Any] | None) -> str:
    if test is None:
        return ""
    mean = f"{100 * test['accuracy']:.2f}"
    if test.get("low") is None:
        return mean
    return f"{mean} ({100 * test['low']:.2f} to {100 * test['high']:.2f})"
