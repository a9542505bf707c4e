"""Batched classification of images."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import UInt8

from attention_jax.core.types import Params

_ROWS = 250  # pictures at once: the same for one and for many, so that both get the same answer


def classifier(graphdef: Any, *, rows: int = _ROWS) -> Callable[[Params, np.ndarray], np.ndarray]:
    """A function of parameters and pictures [n y x c] from 0 to 255: log-probabilities [n k].

    Args:
      graphdef: of the model, a `nn.protocols.Classifier`.
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
