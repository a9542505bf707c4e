"""Character and word error rates of transcripts, as sums of (errors, length) over a corpus.

    rate = 100 * sum(errors) / sum(lengths)

A rate exceeds 100 if there are more errors than the reference is long.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Int

from attention_jax.core.extras import needed
from attention_jax.core.plain_types import typed_calls

with needed("train"):
    from rapidfuzz.distance import Levenshtein


def edit_distance(hypothesis: Sequence[Hashable], reference: Sequence[Hashable]) -> int:
    """Levenshtein distance: the fewest insertions, deletions and substitutions.

        d[i, j] = min(d[i - 1, j] + 1, d[i, j - 1] + 1, d[i - 1, j - 1] + (h[i] != r[j]))

    Reference: Levenshtein 1966, Soviet Physics Doklady 10(8).

    >>> edit_distance("kitten", "sitting")
    3
    """
    return Levenshtein.distance(hypothesis, reference)


def characters(hypothesis: str, reference: str) -> tuple[int, int]:
    """Character errors and characters of the reference, spaces included."""
    return edit_distance(hypothesis, reference), len(reference)


def words(hypothesis: str, reference: str) -> tuple[int, int]:
    """Word errors and words of the reference.

    >>> words("one three", "one two three")
    (1, 3)
    """
    split = reference.split()
    return edit_distance(hypothesis.split(), split), len(split)


@typed_calls
def counts(
    hypotheses: Sequence[str], references: Sequence[str]
) -> dict[str, Int[np.ndarray, "n 2"]]:
    """Numerator and denominator of each metric for each transcript.

    `accuracy` counts transcripts that are correct as a whole, `cer` character errors and `wer` word
    errors.

    Raises:
      ValueError: the numbers of transcripts differ or are 0, or a reference is empty.
    """
    if len(hypotheses) != len(references) or not references:
        raise ValueError(
            "`hypotheses` and `references` must be equally many, and at least one; got "
            f"{len(hypotheses)} and {len(references)}."
        )
    for i, hypothesis in enumerate(hypotheses):
        if not isinstance(hypothesis, str):
            raise ValueError(f"`hypotheses[{i}]` must be a transcript; got {hypothesis!r}.")
    for i, reference in enumerate(references):
        if not isinstance(reference, str) or not reference.strip():
            raise ValueError(f"`references[{i}]` must say something; got {reference!r}.")
    pairs = list(zip(hypotheses, references, strict=True))
    return {
        "accuracy": np.array([(int(h == r), 1) for h, r in pairs]),
        "cer": np.array([characters(h, r) for h, r in pairs]),
        "wer": np.array([words(h, r) for h, r in pairs]),
    }


def rates(counted: dict[str, Int[np.ndarray, "n 2"]]) -> dict[str, float]:
    """Metrics of the corpus: 100 times the sum of numerators over the sum of denominators."""
    sums = {name: pairs.sum(axis=0) for name, pairs in counted.items()}
    return {name: 100.0 * float(top) / float(bottom) for name, (top, bottom) in sums.items()}
