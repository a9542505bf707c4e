"""What a model is trained for: functions of a model and a batch, which the trainer minimises.

    def my_objective(model, batch, *, rngs=None, label_smoothing=0.0) -> Sums: ...
    training.fit(build, batches, evaluate, folder, settings, objective=my_objective)

An objective sums over whatever is predicted (tokens, pictures), and the trainer divides once, so
that batches of any size add up. `rngs=None` means no dropout, as in validation.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float

from attention_jax import metrics
from attention_jax.types import Batch


class Sums(NamedTuple):
    """Sums over what one batch predicts.

    Attributes:
      loss: what is minimised, in nats where it is a likelihood.
      count: of what was predicted; padding does not count.
      correct: how much of it was right.
    """

    loss: Float[Array, ""]
    count: Float[Array, ""]
    correct: Float[Array, ""]


@runtime_checkable
class Objective(Protocol):
    """A pure function; `batch` is any pytree with `weights`, 1 on what counts and 0 on padding."""

    def __call__(
        self, model: Any, batch: Any, *, rngs: Any = None, label_smoothing: float = 0.0
    ) -> Sums: ...


def translation(
    model: Any, batch: Batch, *, rngs: Any = None, label_smoothing: float = 0.0
) -> Sums:
    """The target's tokens given the source and the tokens before, of a `types.Seq2Seq`.

    loss = -sum_t log p(y_t | y_1 .. y_(t-1), x)
    """
    memory = model.encode(batch.source, batch.source_mask, rngs=rngs)
    logits = model.decode(batch.target_in, memory, rngs=rngs)
    return of_logits(logits, batch.target_out, batch.weights, label_smoothing=label_smoothing)


def of_logits(
    logits: Float[Array, "*n v"], targets: Any, weights: Any, *, label_smoothing: float = 0.0
) -> Sums:
    """Cross-entropy to the targets, and how many of them have the highest logit."""
    loss, count = metrics.cross_entropy(logits, targets, weights, label_smoothing)
    correct, _ = metrics.accuracy(logits, targets, weights)
    return Sums(loss, count, correct)
