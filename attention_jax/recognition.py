"""What a trained model says that pictures show, and how often it is right."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float, Int, UInt8

from attention_jax.types import Params

_ROWS = 250  # pictures at once: the same for one and for many, so that both get the same answer


def recogniser(graphdef: Any, *, rows: int = _ROWS) -> Callable[[Params, np.ndarray], np.ndarray]:
    """A function of parameters and pictures [n y x c] from 0 to 255: log-probabilities [n k].

    Args:
      graphdef: of the model, a `types.Classifier`.
      rows: pictures at once.
    """

    @jax.jit
    def logs(params: Params, images: jax.Array) -> jax.Array:
        return jax.nn.log_softmax(nnx.merge(graphdef, params).classify(images))

    def recognise(params: Params, images: UInt8[np.ndarray, "n y x c"]) -> np.ndarray:
        found = []
        for first in range(0, len(images), rows):
            batch = images[first : first + rows].astype(np.float32) / np.float32(255)
            empty = np.zeros((rows - len(batch), *batch.shape[1:]), np.float32)
            found.append(np.asarray(logs(params, np.concatenate([batch, empty])))[: len(batch)])
        return np.concatenate(found)

    return recognise


def scores(
    log_probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]
) -> dict[str, float]:
    """Share of pictures whose class is the most probable, and mean loss in nats."""
    right = log_probabilities.argmax(axis=-1) == labels
    loss = -log_probabilities[np.arange(len(labels)), labels].astype(np.float64).mean()
    return {"accuracy": float(right.mean()), "loss": float(loss)}


def of_classes(
    log_probabilities: Float[np.ndarray, "n k"],
    labels: Int[np.ndarray, " n"],
    names: Sequence[str],
) -> dict[str, float]:
    """The share of each class's pictures that is recognised; of classes that have some."""
    right = log_probabilities.argmax(axis=-1) == labels
    return {
        name: float(right[labels == k].mean())
        for k, name in enumerate(names)
        if (labels == k).any()
    }
