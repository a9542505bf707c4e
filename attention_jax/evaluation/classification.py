"""Accuracy and loss of image classifiers."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int


def scores(
    log_probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]
) -> dict[str, float]:
    """Accuracy, and mean loss in nats."""
    right = log_probabilities.argmax(axis=-1) == labels
    loss = -log_probabilities[np.arange(len(labels)), labels].astype(np.float64).mean()
    return {"accuracy": float(right.mean()), "loss": float(loss)}


def of_classes(
    log_probabilities: Float[np.ndarray, "n k"],
    labels: Int[np.ndarray, " n"],
    names: Sequence[str],
) -> dict[str, float]:
    """Accuracy within each class that has images."""
    right = log_probabilities.argmax(axis=-1) == labels
    return {
        name: float(right[labels == k].mean())
        for k, name in enumerate(names)
        if (labels == k).any()
    }
