"""Training objectives: functions of a model and a batch that the trainer minimizes.

    def my_objective(model, batch, *, rngs=None, label_smoothing=0.0) -> Sums: ...
    training.fit(build, batches, evaluate, folder, config, objective=my_objective)

An objective sums over its predictions (tokens, images, ...) and the trainer divides once, so that
batches of different sizes add up. `rngs=None` means no dropout, as in validation.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from attention_jax.core import checks
from attention_jax.data.types import EOS, PAD, ImageBatch, Seq2SeqBatch, SeriesBatch, TokenBatch
from attention_jax.decoding.ctc import loss as ctc_loss
from attention_jax.decoding.ctc import right as ctc_right
from attention_jax.nn.protocols import (
    Aligned,
    Classifier,
    DecodesStates,
    EncoderDecoder,
    EncoderOutput,
    NextToken,
    ReadsStates,
    Regressor,
)
from attention_jax.training import blockwise_loss, losses


class Sums(NamedTuple):
    """Sums over the predictions of one batch.

    Attributes:
      loss: minimized; in nats if it is a negative log-likelihood.
      count: number of predictions, without padding.
      correct: number of correct predictions.
    """

    loss: Float[Array, ""]
    count: Float[Array, ""]
    correct: Float[Array, ""]


@runtime_checkable
class Objective(Protocol):
    """Interface of objectives: pure functions of a model and a batch.

    `batch` is any pytree with `weights`, 1 on predictions that count and 0 on padding.
    """

    def __call__(
        self, model: Any, batch: Any, *, rngs: nnx.Rngs | None = None, label_smoothing: float = 0.0
    ) -> Sums: ...


def translation(
    model: EncoderDecoder,
    batch: Seq2SeqBatch,
    *,
    rngs: nnx.Rngs | None = None,
    label_smoothing: float = 0.0,
) -> Sums:
    """Cross-entropy of target tokens given the source and the tokens before (teacher forcing).

    loss = -sum_t log p(y_t | y_1 .. y_(t-1), x)
    """
    memory = model.encode(batch.source, batch.source_mask, rngs=rngs)
    return _written(model, memory, batch, rngs, label_smoothing)


def _written(
    model: EncoderDecoder,
    memory: EncoderOutput,
    batch: Seq2SeqBatch,
    rngs: nnx.Rngs | None,
    label_smoothing: float,
) -> Sums:
    own = batch.target_out, batch.weights
    if isinstance(model, DecodesStates) and of_one_class(model, "decode", "decode_states"):
        states = model.decode_states(batch.target_in, memory, rngs=rngs)
        return of_states(model.unembed, states, *own, label_smoothing=label_smoothing)
    logits = model.decode(batch.target_in, memory, rngs=rngs)
    return of_logits(logits, *own, label_smoothing=label_smoothing)


def classification(
    model: Classifier,
    batch: ImageBatch,
    *,
    rngs: nnx.Rngs | None = None,
    label_smoothing: float = 0.0,
) -> Sums:
    """Cross-entropy of the class of each image.

    loss = -sum_b log p(label_b | image_b)
    """
    logits = model.classify(batch.images, rngs=rngs)
    return of_logits(logits, batch.labels, batch.weights, label_smoothing=label_smoothing)


def next_token(
    model: NextToken,
    batch: TokenBatch,
    *,
    rngs: nnx.Rngs | None = None,
    label_smoothing: float = 0.0,
) -> Sums:
    """Cross-entropy of each next token given those before it.

    loss = -sum_t log p(y_t | x_1 .. x_t)
    """
    own = batch.targets, batch.weights
    if isinstance(model, ReadsStates) and of_one_class(model, "logits", "states"):
        states = model.states(batch.tokens, rngs=rngs)
        return of_states(model.unembed, states, *own, label_smoothing=label_smoothing)
    logits = model.logits(batch.tokens, rngs=rngs)
    return of_logits(logits, *own, label_smoothing=label_smoothing)


def regression(
    model: Regressor,
    batch: SeriesBatch,
    *,
    rngs: nnx.Rngs | None = None,
    label_smoothing: float = 0.0,
) -> Sums:
    """Squared error of one number for each series; correct within 0.04.

    loss = sum_b (y_b - model.predict(x_b))^2

    Raises:
      ValueError: `label_smoothing` is not 0: regression has no labels.

    Reference: Hochreiter and Schmidhuber 1997, Neural Computation 9, experiment 4.
    """
    if label_smoothing:
        raise ValueError(f"`label_smoothing` must be 0 for regression; got {label_smoothing}.")
    error = model.predict(batch.vectors, rngs=rngs) - batch.targets
    right = jnp.where(jnp.abs(error) < 0.04, batch.weights, 0.0)
    return Sums(jnp.sum(batch.weights * error**2), jnp.sum(batch.weights), jnp.sum(right))


def ctc(
    model: Aligned,
    batch: Seq2SeqBatch,
    *,
    rngs: nnx.Rngs | None = None,
    label_smoothing: float = 0.0,
) -> Sums:
    """Connectionist temporal classification of the target without EOS; see `decoding.ctc`.

    loss = -log sum over paths of prod_s p(path[s] | x)

    The model is one like `models.speech.CTCModel`. A token counts as correct if the most probable
    path spells its whole transcript. A transcript longer than the encoder's states has no path and
    costs about 1e5.

    Raises:
      ValueError: `label_smoothing` is not 0: CTC aligns no token with a position.
    """
    if label_smoothing:
        raise ValueError(
            f"`label_smoothing` must be 0 with CTC; got {label_smoothing}. Use the decoder's loss."
        )
    memory = model.encode(batch.source, batch.source_mask, rngs=rngs)
    return _aligned(model, memory, batch, rngs)


def _aligned(
    model: Aligned, memory: EncoderOutput, batch: Seq2SeqBatch, rngs: nnx.Rngs | None
) -> Sums:
    logits = model.aligner(memory, rngs=rngs)
    real = jnp.where(jnp.asarray(batch.target_out) == EOS, 0.0, batch.weights)
    count = real.sum(axis=1)
    labels = jnp.where(real > 0, batch.target_out, PAD)
    # Padding rows have nothing to spell.
    with jax.named_scope("loss"):
        nats = jnp.where(count > 0, ctc_loss(logits, memory.mask, labels, real), 0.0)
        right = ctc_right(logits, memory.mask, labels, real) * count
    return Sums(nats.sum(), count.sum(), right.sum())


def joint(share: float = 0.3) -> Objective:
    """Joint objective of a decoder and CTC on its encoder, which learns a monotonic order early.

    loss = (1 - share) translation + share ctc

    The model is a `nn.protocols.Seq2Seq` with an `aligner`, such as `models.speech.CTCHead`.
    Correct tokens are those of `translation`; label smoothing applies to it alone.

    Raises:
      ValueError: `share` lies outside [0, 1).

    Reference: Kim, Hori and Watanabe 2017, arXiv:1609.06773, equation 12.
    """
    checks.fraction("share", share)

    def objective(
        model: Any,
        batch: Seq2SeqBatch,
        *,
        rngs: nnx.Rngs | None = None,
        label_smoothing: float = 0.0,
    ) -> Sums:
        memory = model.encode(batch.source, batch.source_mask, rngs=rngs)
        written = _written(model, memory, batch, rngs, label_smoothing)
        aligned = _aligned(model, memory, batch, rngs)
        return written._replace(loss=(1 - share) * written.loss + share * aligned.loss)

    return objective


def of_one_class(model: object, *methods: str) -> bool:
    """True where one class wrote all of these methods, so that none was changed without another."""
    writers = {next((x for x in type(model).__mro__ if m in vars(x)), None) for m in methods}
    return len(writers) == 1 and None not in writers and vars(model).keys().isdisjoint(methods)


def of_states(
    unembed: blockwise_loss.Unembed,
    states: Float[Array, "b t m"],
    targets: Int[Array | np.ndarray, "b t"],
    weights: Float[Array | np.ndarray, "b t"],
    *,
    label_smoothing: float = 0.0,
) -> Sums:
    """As `of_logits` of `unembed(states)`, without all logits at once."""
    with jax.named_scope("loss"):
        found = blockwise_loss.cross_entropy(unembed, states, targets, weights, label_smoothing)
    return Sums(found.loss, jnp.sum(weights, dtype=jnp.float32), found.correct)


def of_logits(
    logits: Float[Array, "*n v"],
    targets: Int[Array | np.ndarray, "*n"],
    weights: Float[Array | np.ndarray, "*n"],
    *,
    label_smoothing: float = 0.0,
) -> Sums:
    """Cross-entropy of the targets, and the number of them with the highest logit."""
    with jax.named_scope("loss"):
        loss, count = losses.cross_entropy(logits, targets, weights, label_smoothing)
        correct, _ = losses.accuracy(logits, targets, weights)
    return Sums(loss, count, correct)
