"""Correct predictions of a language model, window by window, and the surprise of each token."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

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


def surprisals(graphdef: nnx.GraphDef) -> Callable[[Params, Batches], Float[np.ndarray, " n"]]:
    """Function that gives the surprise of each predicted token of an epoch, in order, in nats.

        surprise_t = -log p(x_t | x_1 .. x_(t-1)), the tokens before as far as the window has them

    Batches are `data.types.TokenBatch`; padding is left out.
    """

    @jax.jit
    def each(params, batch):
        logits = nnx.merge(graphdef, params).logits(batch.tokens)
        of_tokens = jax.vmap(jax.vmap(losses.cross_entropy))
        return jnp.stack(of_tokens(logits, batch.targets, batch.weights))

    def over(params: Params, batches: Batches) -> Float[np.ndarray, " n"]:
        both = (fetch(each(params, spread(batch, params))) for batch in batches.epoch())
        return np.concatenate([nats[weights > 0] for nats, weights in both])

    return over
