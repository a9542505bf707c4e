"""Training over sequences that devices share: the model that does so, and the lengths that serve.

A model is built, evaluated and kept as on one device. The graph that a step computes with is
another. Each shard computes its own positions, where all parts of the model can; in others, such as
speech encoders, whose convolutions reach over the ends of a shard, attention alone divides itself,
and XLA the rest.
"""

from typing import Any

from flax import nnx

from attention_jax.core.types import Context, Params
from attention_jax.nn.protocols import OverSequences


def divided(graphdef: nnx.GraphDef, params: Params, context: Context) -> nnx.GraphDef:
    """The graph of a model whose sequences a context divides.

    Args:
      graphdef: graph of the model.
      params: shapes of its parameters.
      context: along which axis of the mesh, and how.

    Raises:
      ValueError: nothing in the model attends along its sequences.
    """

    def model(params: Params) -> Any:
        whole = nnx.merge(graphdef, params)
        every = [part for _, part in nnx.iter_graph(whole)]
        parts = [part for part in every if isinstance(part, OverSequences)]
        if not parts or any(getattr(part, "one_after_another", False) for part in every):
            raise ValueError(
                f"`mesh` may share positions by {context.axis} among devices where layers of a "
                "Transformer attend along them; this model has none, or reads one after another. "
                "Leave it out, and give its devices to data or fsdp."
            )
        for part in parts:
            part.sequence_context = context
        return whole

    return nnx.graphdef(nnx.eval_shape(model, params))


def shortening_of(model: object) -> int:
    """Positions of a batch to one of the encoder, as `AudioFrontEnd.shortening`; 1 for most.

    Args:
      model: an `nnx.Module`; an encoder that shortens has `listening`.
    """
    front = (getattr(part, "listening", None) for _, part in nnx.iter_graph(model))
    return max((x.shortening for x in front if x is not None), default=1)
