"""Correct predictions of a language model, window by window."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attention_jax.core.types import Params
from attention_jax.data.batching import Batches
from attention_jax.parallel.placement import fetch, spread
from attention_jax.training import losses


def outcomes(graphdef: nnx.GraphDef) -> Callable[[Params, Batches], list[list[int]]]:
    """Function that counts (correct predictions, predictions) of each row of an epoch.

    Rows without a prediction are left out. Batches are `data.types.TokenBatch`.
    """

    @jax.jit
    def rows(params, batch):
        logits = nnx.merge(graphdef, params).logits(batch.tokens)
        return jnp.stack(jax.vmap(losses.accuracy)(logits, batch.targets, batch.weights), axis=-1)

    def over(params: Params, batches: Batches) -> list[list[int]]:
        counted = (rows(params, spread(batch, params)) for batch in batches.epoch())
        found = np.concatenate([fetch(x) for x in counted])
        return found[found[:, 1] > 0].astype(int).tolist()

    return over
