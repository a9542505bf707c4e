"""Reports of earlier versions, as those of this one: reports are read from their report.json."""

import json
from pathlib import Path
from typing import Any

from attention_jax.evaluation import significance
from experiments.compare import scores


def read(path: Path) -> dict[str, Any]:
    """The numbers of a comparison.

    Intervals that were Student's, and could leave the possible range, are made anew of the runs'
    scores. The choice of items is not known any more, nor is the guess; where all runs got all
    items, or none, tests count as being of like size.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it holds no comparison.
    """
    if not path.is_file():
        raise FileNotFoundError(f"`--report` must name the report.json of a comparison; {path}.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {"tests", "options", "runs"} <= set(found):
        raise ValueError(f"`--report` must name the report.json of a comparison; {path} is none.")
    return upgraded(found)


def upgraded(found: dict[str, Any]) -> dict[str, Any]:
    """Numbers as this version has them; those of this version stay as they are."""
    if "contenders" in found:
        found = {("candidates" if key == "contenders" else key): x for key, x in found.items()}
        found["runs"] = [
            {("candidate" if key == "contender" else key): x for key, x in run.items()}
            for run in found["runs"]
        ]
    if all("learned" in test for test in found["tests"].values()):
        return found
    options = found["options"]
    # Too few is the careful side: an interval at an end of the range becomes wider.
    sentences = sum(bucket["sentences"] for bucket in found["lengths"]["buckets"])
    items = sentences // max(1, len(found["tests"])) or options["seeds"]
    return found | {
        "tests": {name: _test(test, options, items) for name, test in found["tests"].items()},
        "lengths": _lengths(found["lengths"], options),
        "curves": {
            name: [_point(point, options) for point in points]
            for name, points in found["curves"].items()
        },
        "candidates": {name: _candidate(x, options) for name, x in found["candidates"].items()},
    }


def _test(test: dict[str, Any], options: dict[str, Any], items: int) -> dict[str, Any]:
    own = {name: _anew(x, options, items) for name, x in test["scores"].items()}
    learned = {
        name: scores.has_learned(x, None, items, scores.Options(**options))
        for name, x in own.items()
    }
    pairs = [
        pair | scores.compared((pair["first"], pair["second"]), own, learned)
        for pair in test["pairs"]
    ]
    return test | {"scores": own, "pairs": pairs, "items": 0, "guess": None, "learned": learned}


def _lengths(lengths: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    buckets = [
        bucket
        | {
            "scores": {
                name: _anew(x, options, bucket["sentences"]) for name, x in bucket["scores"].items()
            }
        }
        for bucket in lengths["buckets"]
    ]
    return lengths | {"buckets": buckets}


def _point(point: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    shares = {"accuracy": scores.SHARE, "exact_match": scores.SHARE, "bleu": scores.PERCENT}
    return {
        name: scores.spread(x["values"], options["confidence"], shares.get(name, scores.POSITIVE))
        if isinstance(x, dict)
        else x
        for name, x in point.items()
    }


def _candidate(candidate: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    positive = {
        name: scores.spread(x["values"], options["confidence"])
        for name, x in candidate.items()
        if isinstance(x, dict) and set(significance.Interval._fields) <= set(x)
    }
    focus = candidate.get("focus")
    if focus:
        positive["focus"] = {
            name: scores.spread(
                x["values"], options["confidence"], scores.Range(min(1.0, *x["values"]), None)
            )
            for name, x in focus.items()
        }
    return candidate | positive


def _anew(score: dict[str, Any], options: dict[str, Any], items: int) -> dict[str, Any]:
    ends = scores.range_of(options["score"])
    return scores.spread(score["values"], options["confidence"], ends, items=items)
