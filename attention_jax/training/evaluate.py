"""Mean loss, perplexity and accuracy over an epoch."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import Params
from attention_jax.data.batching import Batches
from attention_jax.parallel.placement import spread
from attention_jax.training import objectives
from attention_jax.training.objectives import Objective


@typed_calls
def loss_evaluator(
    graphdef: nnx.GraphDef, objective: Objective = objectives.translation
) -> Callable[[Params, Batches], dict[str, float]]:
    """Function of parameters and batches: loss, perplexity and accuracy over one epoch.

    Args:
      graphdef: graph of the model.
      objective: sums losses, predictions and correct predictions of a batch.
    """

    @jax.jit
    def sums(params, batch):
        return jnp.stack(objective(nnx.merge(graphdef, params), batch))

    def over(params: Params, batches: Batches) -> dict[str, float]:
        found = (sums(params, spread(batch, params)) for batch in batches.epoch())
        total = np.sum([np.asarray(x, np.float64) for x in found], axis=0)
        loss, count, right = (float(x) for x in total)
        # exp overflows a double above 709.
        perplexity = float(np.exp(min(loss / count, 700.0)))
        return {"loss": loss / count, "perplexity": perplexity, "accuracy": right / count}

    return over
