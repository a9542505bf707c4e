"""Batched classification of images."""

from collections.abc import Callable

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float, UInt8

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import Params
from attention_jax.data.images.batches import check_images
from attention_jax.parallel.placement import fetch, spread

_ROWS = 250  # images in a batch: the same for one image and for many, so the answers are equal

Classify = Callable[[Params, UInt8[np.ndarray, "n y x c"]], Float[np.ndarray, "n k"]]


@typed_calls
def classifier(graphdef: nnx.GraphDef, *, rows: int = _ROWS) -> Classify:
    """Function of parameters and images from 0 to 255: log-probabilities of the classes.

    Args:
      graphdef: graph of the model, a `nn.protocols.Classifier`.
      rows: images in a batch.
    """

    checks.positive("rows", rows)

    @jax.jit
    def logs(params: Params, images: jax.Array) -> jax.Array:
        return jax.nn.log_softmax(nnx.merge(graphdef, params).classify(images))

    def classify(params: Params, images: UInt8[np.ndarray, "n y x c"]) -> Float[np.ndarray, "n k"]:
        check_images(images)
        if not len(images):
            raise ValueError("`images` must be at least one; got none.")
        found = []
        for first in range(0, len(images), rows):
            batch = images[first : first + rows].astype(np.float32) / np.float32(255)
            empty = np.zeros((rows - len(batch), *batch.shape[1:]), np.float32)
            whole = spread(np.concatenate([batch, empty]), params)
            found.append(fetch(logs(params, whole))[: len(batch)])
        return np.concatenate(found)

    return classify
