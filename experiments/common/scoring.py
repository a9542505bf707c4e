"""Scores of runs from the counts of each item, and the items' lengths."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.common.guesses import Guess

Counts = dict[str, np.ndarray]  # test -> [n c], what each item adds to a score
# Of these less is better.
ERRORS = ("wer", "cer", "bits_per_character")


class Scorer(NamedTuple):
    """How runs of one experiment are scored.

    Attributes:
      task: what they learned.
      counts: `(folder of a run, measure) -> Counts`.
      score: `(measure, sums [*n c]) -> scores [*n]`, in percent or points of BLEU.
      lengths: `(folder of a run) -> ` lengths of all items of each test, and the longest of
        training; None where items have none.
      guess: `(measure) -> Counts` of the best guess that never reads its input.
      check: `(measure)` refuses one that runs of these data cannot have.
    """

    task: str
    counts: Callable[[Path, str], Counts]
    score: Callable[[str, np.ndarray], Any]
    lengths: Callable[[Path], tuple[dict[str, np.ndarray], int] | None]
    guess: Callable[[str], Guess]
    check: Callable[[str], None] = lambda measure: None


def of_outcomes(task: str, guess: Callable[[str], Guess]) -> Scorer:
    """Scores from outcomes.json, which holds a numerator and a denominator of each item."""
    return Scorer(task, _outcomes, _percent, _tested_lengths, guess)


def _outcomes(folder: Path, measure: str) -> Counts:
    found = read_json(folder / "outcomes.json")
    return {test: np.array(own[measure], float) for test, own in found.items()}


def _percent(measure: str, sums: np.ndarray) -> Any:
    del measure
    return np.asarray(100.0 * sums[..., 0] / sums[..., 1])


def _tested_lengths(folder: Path) -> tuple[dict[str, np.ndarray], int] | None:
    """The length of each test, where each is of one, as those of memory are."""
    found = read_json(folder / "result.json")
    if "lengths" not in found:
        return None
    outcomes = read_json(folder / "outcomes.json")
    items = {test: len(next(iter(own.values()))) for test, own in outcomes.items()}
    return {test: np.full(items[test], found["lengths"][test]) for test in items}, found["length"]


def read_json(path: Path) -> Any:
    """The content of a file of JSON."""
    return json.loads(path.read_text(encoding="utf-8"))
