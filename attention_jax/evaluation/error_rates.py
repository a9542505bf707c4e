"""How much of a transcript is wrong, as (errors, length): sums of a corpus, divided once.

    rate = 100 * sum(errors) / sum(lengths)

A rate can be above 100, where more is written than was said.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int


def edit_distance(hypothesis: Sequence[Any], reference: Sequence[Any]) -> int:
    """The fewest insertions, deletions and substitutions that make one sequence the other.

        d[i, j] = min(d[i - 1, j] + 1, d[i, j - 1] + 1, d[i - 1, j - 1] + (h[i] != r[j]))

    Reference: Levenshtein 1966, Soviet Physics Doklady 10(8).

    >>> distance("kitten", "sitting")
    3
    """
    row = list(range(len(reference) + 1))
    for i, own in enumerate(hypothesis, 1):
        above, row = row, [i]
        for j, other in enumerate(reference, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (own != other)))
    return row[-1]


def characters(hypothesis: str, reference: str) -> tuple[int, int]:
    """Character errors, and characters of the reference; spaces count."""
    return edit_distance(hypothesis, reference), len(reference)


def words(hypothesis: str, reference: str) -> tuple[int, int]:
    """Word errors, and words of the reference.

    >>> words("one three", "one two three")
    (1, 3)
    """
    split = reference.split()
    return edit_distance(hypothesis.split(), split), len(split)


def counts(
    hypotheses: Sequence[str], references: Sequence[str]
) -> dict[str, Int[np.ndarray, "n 2"]]:
    """Of each measure (numerator, denominator) for each transcript.

    `accuracy` counts transcripts that are right as a whole, `cer` wrong characters and `wer` wrong
    words.

    Raises:
      ValueError: numbers differ, there is none, or a reference is empty.
    """
    if len(hypotheses) != len(references) or not references:
        raise ValueError(
            "`hypotheses` and `references` must be equally many, and at least one; got "
            f"{len(hypotheses)} and {len(references)}."
        )
    for i, reference in enumerate(references):
        if not reference.strip():
            raise ValueError(f"`references[{i}]` must say something; got {reference!r}.")
    pairs = list(zip(hypotheses, references, strict=True))
    return {
        "accuracy": np.array([(int(h == r), 1) for h, r in pairs]),
        "cer": np.array([characters(h, r) for h, r in pairs]),
        "wer": np.array([words(h, r) for h, r in pairs]),
    }


def rates(counted: dict[str, Int[np.ndarray, "n 2"]]) -> dict[str, float]:
    """Each measure over all transcripts: 100 times the sum of numerators over denominators."""
    sums = {name: pairs.sum(axis=0) for name, pairs in counted.items()}
    return {name: 100.0 * float(top) / float(bottom) for name, (top, bottom) in sums.items()}
