"""Accuracy and loss of image classifiers."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from attention_jax.core import checks


def scores(
    log_probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]
) -> dict[str, float]:
    """Accuracy, and mean loss in nats."""
    _check(log_probabilities, labels)
    right = log_probabilities.argmax(axis=-1) == labels
    loss = -log_probabilities[np.arange(len(labels)), labels].astype(np.float64).mean()
    return {"accuracy": float(right.mean()), "loss": float(loss)}


def of_classes(
    log_probabilities: Float[np.ndarray, "n k"],
    labels: Int[np.ndarray, " n"],
    names: Sequence[str],
) -> dict[str, float]:
    """Accuracy within each class that has images."""
    _check(log_probabilities, labels)
    right = log_probabilities.argmax(axis=-1) == labels
    return {
        name: float(right[labels == k].mean())
        for k, name in enumerate(names)
        if (labels == k).any()
    }


def _check(log_probabilities: np.ndarray, labels: np.ndarray) -> None:
    checks.shape("log_probabilities", log_probabilities, "n k")
    checks.shape("labels", labels, "n")
    checks.whole("labels", labels)
    if not len(labels) or len(labels) != len(log_probabilities):
        raise ValueError(
            "`log_probabilities` and `labels` must be equally many, and at least one; got "
            f"{len(log_probabilities)} and {len(labels)}."
        )
    if not 0 <= labels.min() <= labels.max() < log_probabilities.shape[1]:
        raise ValueError(
            f"`labels` must lie from 0 to {log_probabilities.shape[1] - 1}, as `log_probabilities` "
            f"have classes; got {labels.min()} to {labels.max()}."
        )
