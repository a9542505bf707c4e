"""Objectives: sums over predictions, and one of a user's own that the trainer takes as it is."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.data.batching import pad
from attention_jax.data.types import ImageBatch, SeriesBatch, TokenBatch
from attention_jax.models.image_cnn import CNN, CNNConfig
from attention_jax.models.seq2seq_rnn import Seq2SeqRNN
from attention_jax.nn.patches import ImageConfig
from attention_jax.nn.protocols import EncoderOutput
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.training import loop, losses, objectives
from attention_jax.training.config import TrainConfig
from attention_jax.training.objectives import Sums


def test_translation_is_the_cross_entropy_of_the_next_token():
    batch = pad([((4, 5), (6, 7)), ((4,), (5, 6, 7))], rows=3, length=5)
    model = Seq2SeqRNN(RNNConfig(vocabulary_size=9, width=8, layers=1), rngs=nnx.Rngs(0))
    arrays = jax.tree.map(jnp.asarray, batch)

    @nnx.jit
    def scored(model, arrays):
        memory = model.encode(arrays.source, arrays.source_mask)
        loss = objectives.translation(model, arrays, label_smoothing=0.1)
        return loss, model.decode(arrays.target_in, memory)

    found, logits = scored(model, arrays)
    logits = np.asarray(logits, np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    loss = correct = 0.0
    for row, at in zip(*np.nonzero(batch.weights), strict=True):
        right = batch.target_out[row, at]
        loss -= 0.9 * log_p[row, at, right] + 0.1 * log_p[row, at].mean()
        correct += logits[row, at].argmax() == right
    np.testing.assert_allclose(found, (loss, 3 + 4, correct), rtol=1e-5)


class Given:
    """A model that answers as it was told to."""

    def __init__(self, answer):
        self.answer = answer

    def logits(self, tokens, *, rngs=None):
        return self.answer

    def predict(self, vectors, *, rngs=None):
        return self.answer


@pytest.mark.slow
def test_next_token_is_the_cross_entropy_of_what_counts(draw):
    logits, tokens = draw(2, 3, 5), np.arange(6).reshape(2, 3) % 5
    weights = np.array([[1, 1, 0], [0, 0, 1]], np.float32)
    batch = TokenBatch(tokens, (tokens + 1) % 5, weights)
    found = objectives.next_token(Given(logits), jax.tree.map(jnp.asarray, batch))
    log_p = np.asarray(logits, np.float64)
    log_p = log_p - np.log(np.exp(log_p).sum(-1, keepdims=True))
    places = [(0, 0), (0, 1), (1, 2)]
    loss = -sum(log_p[at][batch.targets[at]] for at in places)
    right = sum(log_p[at].argmax() == batch.targets[at] for at in places)
    np.testing.assert_allclose(found, (loss, 3, right), rtol=1e-5)


def test_regression_is_the_squared_error_and_right_within_0_04():
    answer, targets = jnp.array([1.0, 0.5, 0.3]), jnp.array([1.03, 0.45, 0.3])
    batch = SeriesBatch(jnp.zeros((3, 4, 2)), targets, jnp.array([1.0, 1.0, 0.0]))
    found = objectives.regression(Given(answer), batch)
    np.testing.assert_allclose(found, (0.03**2 + 0.05**2, 2, 1), rtol=1e-4)
    with pytest.raises(ValueError, match="`label_smoothing` must be 0 for regression"):
        objectives.regression(Given(answer), batch, label_smoothing=0.1)


class Points(NamedTuple):
    x: jax.Array
    y: jax.Array
    weights: jax.Array


class Line(nnx.Module):
    """y = a x + b"""

    def __init__(self, *, rngs):
        self.slope, self.offset = (
            nnx.Param(jax.random.normal(rngs.params())),
            nnx.Param(jnp.zeros(())),
        )


class Drawn:
    """Points on a line, eight a batch, of which the last is padding."""

    batches_per_epoch = 4

    def __len__(self):
        return 10_000

    def __getitem__(self, index):
        x = np.random.default_rng(int(index)).normal(size=8).astype(np.float32)
        y = 3 * x - 2
        y[-1] = 1e6
        return Points(x, y, (np.arange(8) < 7).astype(np.float32))

    def epoch(self, number=0):
        return (self[number * 4 + i] for i in range(4))


def squared_error(model, batch, *, rngs=None, label_smoothing=0.0):
    error = model.slope[...] * batch.x + model.offset[...] - batch.y
    weights = batch.weights.astype(jnp.float32)
    loss = (weights * error**2).sum()
    return Sums(loss, weights.sum(), jnp.where(jnp.abs(error) < 0.1, weights, 0.0).sum())


@pytest.mark.sampled(1)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_trainer_minimises_what_it_is_given(accumulate, tmp_path):
    settings = TrainConfig(
        steps=150,
        learning_rate=0.2,
        optimizer="adam",
        schedule="constant",
        warmup_steps=1,
        accumulate=accumulate,
        evaluate_every=150,
    )
    result = loop.fit(
        lambda key: Line(rngs=nnx.Rngs(key)),
        Drawn(),
        None,
        tmp_path,
        settings,
        objective=squared_error,
    )
    line = nnx.merge(result.graphdef, result.params)
    assert (float(line.slope[...]), float(line.offset[...])) == pytest.approx((3, -2), abs=0.05)
    assert result.tokens == 150 * accumulate * 7


@pytest.mark.slow
def test_right_answers_are_those_of_the_highest_logit():
    logits = jnp.array([[2.0, 1.0], [0.0, 3.0], [0.0, 5.0]])
    found = objectives.of_logits(logits, jnp.array([0, 0, 1]), jnp.array([1.0, 1.0, 0.0]))
    assert (float(found.count), float(found.correct)) == (2, 1)
    total, _ = losses.cross_entropy(logits, jnp.array([0, 0, 1]), jnp.array([1.0, 1.0, 0.0]))
    assert float(found.loss) == float(total)


@pytest.mark.slow
def test_classification_is_the_cross_entropy_of_real_rows():
    classifier = CNN(ImageConfig(4, 4), CNNConfig(3, width=4), rngs=nnx.Rngs(0))
    images = jnp.asarray(np.random.default_rng(0).random((4, 4, 4, 1), np.float32))
    labels, weights = jnp.array([0, 1, 2, 0]), jnp.array([1.0, 1.0, 1.0, 0.0])
    found = objectives.classification(classifier, ImageBatch(images, labels, weights))
    logits = np.asarray(classifier.classify(images), np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    wanted = -sum(log_p[b, k] for b, k in enumerate((0, 1, 2)))
    assert float(found.loss) == pytest.approx(wanted, rel=1e-5) and float(found.count) == 3
    right, _ = losses.accuracy(classifier.classify(images), labels, weights)
    assert float(found.correct) == float(right)


class Both(Given):
    """A model with a decoder and with logits at each position, both given."""

    def encode(self, source, source_mask, *, rngs=None):
        return EncoderOutput(self.answer[0], jnp.asarray(source_mask))

    def decode(self, target, memory, *, rngs=None):
        return self.answer[1]

    def aligner(self, memory, *, rngs=None):
        return memory.states


@pytest.mark.sampled(1)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_the_joint_objective_weighs_the_two(draw, share):
    batch = pad([((7,) * 4, (4, 5)), ((7,) * 3, (5,))], rows=2, length=5)

    @jax.jit
    def scored(answers, batch):
        model, joint = Both(answers), objectives.joint(share)
        pairs = [
            (f(model, batch, label_smoothing=0.2), f(model, batch))
            for f in (objectives.translation, joint)
        ]
        return pairs, objectives.ctc(model, batch)

    (written, found), paths = scored((draw(2, 5, 8), draw(2, 5, 8)), batch)
    for decoder, both in zip(written, found, strict=True):  # with label smoothing, and without
        want = (1 - share) * float(decoder.loss) + share * float(paths.loss)
        assert float(both.loss) == pytest.approx(want, rel=1e-5)
        assert (both.count, both.correct) == (decoder.count, decoder.correct)
