"""Scores of the best guess that never reads its input: what a model must beat to have learned.

Of each test, as runs are scored: a class that is always answered, a target of training, a token.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Int

_STRANGERS = 0  # seed of the answers of other inputs

Guess = dict[str, np.ndarray]  # test -> [n c], what each item adds to the guess's score
Counts = Callable[[Sequence[str], Sequence[tuple[str, ...]]], np.ndarray]


def of_classes(training: Int[np.ndarray, " n"], tests: dict[str, np.ndarray]) -> Guess:
    """Right and count of each item, where the class that is most frequent in training is told."""
    values, counts = np.unique(training, return_counts=True)
    answer = values[int(np.argmax(counts))]
    return {name: of_hits(labels == answer) for name, labels in tests.items()}


def of_hits(hits: Bool[np.ndarray, " n"]) -> Int[np.ndarray, "n 2"]:
    """Right and count of each item."""
    return np.stack([hits, np.ones_like(hits)], axis=1).astype(int)


def of_texts(
    targets: Sequence[str],
    tests: dict[str, Sequence[tuple[str, ...]]],
    counts: Counts,
    score: Callable[[np.ndarray], object],
    *,
    is_error: bool = False,
) -> Guess:
    """The better of two: the most frequent target of training always, or a random one each time.

    Args:
      targets: of training.
      tests: references of each sentence.
      counts: `(answers, references) -> [n c]`, what each adds to the score.
      score: that of sums of counts.
      is_error: less is better.
    """
    best = min if is_error else max
    always, found = Counter(targets).most_common(1)[0][0], {}
    for name, references in tests.items():
        drawn = np.random.default_rng(_STRANGERS).integers(len(targets), size=len(references))
        answers = [[always] * len(references), [targets[i] for i in drawn]]
        both = [counts(own, references) for own in answers]
        found[name] = best(both, key=lambda own: float(np.asarray(score(own.sum(axis=0)))))
    return found
