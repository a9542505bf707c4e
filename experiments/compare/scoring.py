"""What came of runs, item by item: the sums of which a score is made, and the items' lengths."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from attention_jax.data.types import Example, Task
from attention_jax.evaluation import text

Counts = dict[str, np.ndarray]  # test -> [n c], what each item adds to a score
# Of these less is better.
ERRORS = ("wer", "cer")


class Scorer(NamedTuple):
    """How runs of one experiment are scored.

    Attributes:
      task: what they learned.
      counts: `(folder of a run, measure) -> Counts`.
      score: `(measure, sums [*n c]) -> scores [*n]`, in percent or points of BLEU.
      lengths: `(folder of a run) -> ` lengths of all items of each test, and the longest of
        training; None where items have none.
    """

    task: str
    counts: Callable[[Path, str], Counts]
    score: Callable[[str, np.ndarray], Any]
    lengths: Callable[[Path], tuple[dict[str, np.ndarray], int] | None]


def of_translations(task: Task, vocabulary: Any, max_length: int) -> Scorer:
    """Scores sentences: what translations.json holds, against the task's references."""

    def counts(folder: Path, measure: str) -> Counts:
        translations = read_json(folder / "translations.json")
        return {
            test: text.sentence_counts(
                measure,
                translations[test],
                [example.references for example in examples],
                lowercase=task.lowercase,
            )
            for test, examples in task.tests.items()
        }

    def lengths(examples: Iterable[Example]) -> np.ndarray:
        return np.array([len(vocabulary.encode(example.source)) for example in examples])

    def all_lengths(folder: Path) -> tuple[dict[str, np.ndarray], int]:
        del folder
        # A sentence has EOS too, and longer ones were left out.
        trained = lengths(task.train)
        longest = int(trained[trained < max_length].max())
        return {test: lengths(examples) for test, examples in task.tests.items()}, longest

    return Scorer(task.name, counts, text.score_of_counts, all_lengths)


def of_outcomes(task: str) -> Scorer:
    """Scores whatever outcomes.json holds: of each item, a numerator and a denominator."""
    return Scorer(task, _outcomes, _percent, _tested_lengths)


def _outcomes(folder: Path, measure: str) -> Counts:
    found = read_json(folder / "outcomes.json")
    return {test: np.array(own[measure], float) for test, own in found.items()}


def _percent(measure: str, sums: np.ndarray) -> Any:
    del measure
    return np.asarray(100.0 * sums[..., 0] / sums[..., 1])


def _tested_lengths(folder: Path) -> tuple[dict[str, np.ndarray], int] | None:
    """Where each test is of one length, as those of memory are."""
    found = read_json(folder / "result.json")
    if "lengths" not in found:
        return None
    outcomes = read_json(folder / "outcomes.json")
    items = {test: len(next(iter(own.values()))) for test, own in outcomes.items()}
    return {test: np.full(items[test], found["lengths"][test]) for test in items}, found["length"]


def read_json(path: Path) -> Any:
    """A file of JSON."""
    return json.loads(path.read_text(encoding="utf-8"))
