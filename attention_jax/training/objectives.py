"""What a model is trained for: functions of a model and a batch, which the trainer minimises.

    def my_objective(model, batch, *, rngs=None, label_smoothing=0.0) -> Sums: ...
    training.fit(build, batches, evaluate, folder, settings, objective=my_objective)

An objective sums over whatever is predicted (tokens, pictures), and the trainer divides once, so
that batches of any size add up. `rngs=None` means no dropout, as in validation.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float

from attention_jax.core import checks
from attention_jax.data.types import EOS, PAD, ImageBatch, Seq2SeqBatch, SeriesBatch, TokenBatch
from attention_jax.decoding.ctc import loss as ctc_loss
from attention_jax.decoding.ctc import right as ctc_right
from attention_jax.nn.protocols import EncoderOutput
from attention_jax.training import losses


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
    model: Any, batch: Seq2SeqBatch, *, rngs: Any = None, label_smoothing: float = 0.0
) -> Sums:
    """The target's tokens given the source and the tokens before, of a `nn.protocols.Seq2Seq`.

    loss = -sum_t log p(y_t | y_1 .. y_(t-1), x)
    """
    memory = model.encode(batch.source, batch.source_mask, rngs=rngs)
    return _written(model, memory, batch, rngs, label_smoothing)


def _written(
    model: Any, memory: EncoderOutput, batch: Seq2SeqBatch, rngs: Any, label_smoothing: float
) -> Sums:
    logits = model.decode(batch.target_in, memory, rngs=rngs)
    return of_logits(logits, batch.target_out, batch.weights, label_smoothing=label_smoothing)


def classification(
    model: Any, batch: ImageBatch, *, rngs: Any = None, label_smoothing: float = 0.0
) -> Sums:
    """The class of each picture.

    loss = -sum_b log p(label_b | image_b)
    """
    logits = model.classify(batch.images, rngs=rngs)
    return of_logits(logits, batch.labels, batch.weights, label_smoothing=label_smoothing)


def next_token(
    model: Any, batch: TokenBatch, *, rngs: Any = None, label_smoothing: float = 0.0
) -> Sums:
    """Each next token given those before it, of a `nn.protocols.Language`.

    loss = -sum_t log p(y_t | x_1 .. x_t)
    """
    logits = model.logits(batch.tokens, rngs=rngs)
    return of_logits(logits, batch.targets, batch.weights, label_smoothing=label_smoothing)


def regression(
    model: Any, batch: SeriesBatch, *, rngs: Any = None, label_smoothing: float = 0.0
) -> Sums:
    """A number for each series, right within 0.04 as Hochreiter and Schmidhuber count.

    loss = sum_b (y_b - model.predict(x_b))^2

    Raises:
      ValueError: `label_smoothing` is not 0: a number has no labels.

    Reference: Hochreiter and Schmidhuber 1997, Neural Computation 9, experiment 4.
    """
    if label_smoothing:
        raise ValueError(
            f"`label_smoothing` must be 0 where a number is predicted; got {label_smoothing}."
        )
    error = model.predict(batch.vectors, rngs=rngs) - batch.targets
    right = jnp.where(jnp.abs(error) < 0.04, batch.weights, 0.0)
    return Sums(jnp.sum(batch.weights * error**2), jnp.sum(batch.weights), jnp.sum(right))


def ctc(model: Any, batch: Seq2SeqBatch, *, rngs: Any = None, label_smoothing: float = 0.0) -> Sums:
    """The target's tokens without EOS, over all paths that spell them; see `decoding.ctc`.

    loss = -log sum over paths of prod_s p(path[s] | x)

    The model is one as `models.speech.AlignedModel`. A token counts as right where the most
    probable path spells its whole transcript. What no path can spell, being longer than the
    positions, costs about 1e5.

    Raises:
      ValueError: `label_smoothing` is not 0: no token stands at a position of its own.
    """
    if label_smoothing:
        raise ValueError(
            f"`label_smoothing` must be 0 with CTC; got {label_smoothing}. Use the decoder's loss."
        )
    memory = model.encode(batch.source, batch.source_mask, rngs=rngs)
    return _aligned(model, memory, batch, rngs)


def _aligned(model: Any, memory: EncoderOutput, batch: Seq2SeqBatch, rngs: Any) -> Sums:
    logits = model.aligner(memory, rngs=rngs)
    real = jnp.where(jnp.asarray(batch.target_out) == EOS, 0.0, batch.weights)
    count = real.sum(axis=1)
    labels = jnp.where(real > 0, batch.target_out, PAD)
    # Rows that only fill the batch have nothing to spell.
    nats = jnp.where(count > 0, ctc_loss(logits, memory.mask, labels, real), 0.0)
    right = ctc_right(logits, memory.mask, labels, real) * count
    return Sums(nats.sum(), count.sum(), right.sum())


def joint(share: float = 0.3) -> Objective:
    """The target by a decoder, and by paths through its encoder, which teaches it the order early.

    loss = (1 - share) translation + share ctc

    The model is a `nn.protocols.Seq2Seq` with an `aligner`, as `models.speech.CTCHead`. What is
    right is counted as in `translation`, and labels are smoothed in it alone.

    Raises:
      ValueError: `share` lies outside [0, 1).

    Reference: Kim, Hori and Watanabe 2017, arXiv:1609.06773, equation 12.
    """
    checks.fraction("share", share)

    def objective(
        model: Any, batch: Seq2SeqBatch, *, rngs: Any = None, label_smoothing: float = 0.0
    ) -> Sums:
        memory = model.encode(batch.source, batch.source_mask, rngs=rngs)
        written = _written(model, memory, batch, rngs, label_smoothing)
        aligned = _aligned(model, memory, batch, rngs)
        return written._replace(loss=(1 - share) * written.loss + share * aligned.loss)

    return objective


def of_logits(
    logits: Float[Array, "*n v"], targets: Any, weights: Any, *, label_smoothing: float = 0.0
) -> Sums:
    """Cross-entropy to the targets, and how many of them have the highest logit."""
    loss, count = losses.cross_entropy(logits, targets, weights, label_smoothing)
    correct, _ = losses.accuracy(logits, targets, weights)
    return Sums(loss, count, correct)
