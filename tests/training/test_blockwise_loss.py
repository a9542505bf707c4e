"""Cross-entropy in blocks against the equation on all logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.data.batching import pad
from attention_jax.data.types import TokenBatch
from attention_jax.models.language import TransformerLM
from attention_jax.models.seq2seq_rnn import Seq2SeqRNN
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.training import blockwise_loss, losses, objectives


@pytest.fixture
def case():
    """States, matrix, offset, weights; and targets."""
    shapes = (3, 5, 4), (4, 7), (7,), (3, 5)
    draw = jax.random.split(jax.random.key(0), 5)
    arrays = tuple(jax.random.normal(key, n) for key, n in zip(draw, shapes, strict=False))
    return (*arrays[:3], jnp.abs(arrays[3])), jax.random.randint(draw[4], (3, 5), 0, 7)


@pytest.fixture
def pairs_batch():
    pairs = [([4, 5, 6], [7, 8]), ([9, 10], [4, 5, 6, 7])]
    return jax.tree.map(jnp.asarray, pad(pairs, rows=2, length=6))


def by_blocks(targets, smoothing, monkeypatch, positions):
    monkeypatch.setattr(blockwise_loss, "BLOCK_BYTES", 4 * 7 * 3 * positions)

    def loss(states, matrix, offset, weights):
        unembed = lambda x: x @ matrix + offset[None, None]  # noqa: E731
        return blockwise_loss.cross_entropy(unembed, states, targets, weights, smoothing)

    return loss


def at_once(targets, smoothing):
    def loss(states, matrix, offset, weights):
        logits = states @ matrix + offset[None, None]
        return losses.cross_entropy(logits, targets, weights, smoothing)[0]

    return loss


@pytest.mark.sampled(2)
@pytest.mark.parametrize("positions", [1, 2, 5])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_gradients_are_those_of_all_logits(case, smoothing, positions, monkeypatch):
    arrays, targets = case
    loss = by_blocks(targets, smoothing, monkeypatch, positions)
    every = tuple(range(4))
    got = jax.value_and_grad(lambda *x: loss(*x).loss, every)(*arrays)
    want = jax.value_and_grad(at_once(targets, smoothing), every)(*arrays)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=2e-6), got, want)
    states, matrix, offset, weights = arrays
    right = losses.accuracy(states @ matrix + offset[None, None], targets, weights)[0]
    np.testing.assert_allclose(loss(*arrays).correct, right, rtol=1e-6)


def test_second_derivatives_are_those_of_all_logits(case, monkeypatch):
    arrays, targets = case
    loss = by_blocks(targets, 0.1, monkeypatch, 2)

    def product(f):
        return jax.jvp(jax.grad(f, (0, 1, 2)), arrays[:3], arrays[:3])[1]

    got = product(lambda *x: loss(*x, arrays[3]).loss)
    want = product(lambda *x: at_once(targets, 0.1)(*x, arrays[3]))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), got, want)


@pytest.mark.parametrize("shape", [(3, 1), (1, 5), (3, 4)])
def test_weights_and_targets_must_fit(case, shape, users_errors):
    (states, *_), targets = case
    with pytest.raises(ValueError, match="must have the shape of `logits` without its last axis"):
        blockwise_loss.cross_entropy(lambda x: x, states, targets, jnp.ones(shape))
    with pytest.raises(ValueError, match="`targets`"):
        blockwise_loss.cross_entropy(lambda x: x, states, jnp.ones((3, 5)), jnp.ones((3, 5)))


def test_no_positions_sum_to_zero():
    nothing = jnp.zeros((2, 0, 4)), jnp.zeros((2, 0), int), jnp.zeros((2, 0))
    assert blockwise_loss.cross_entropy(lambda x: x, *nothing) == (0, 0)


@pytest.mark.parametrize("positions", [2, 5])
def test_gradients_of_low_precision_are_summed_in_float32(case, positions, monkeypatch):
    (states, matrix, offset, weights), targets = case
    low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), (states, matrix, offset))
    loss = by_blocks(targets, 0.1, monkeypatch, positions)
    got = jax.grad(lambda *x: loss(*x, weights).loss, (0, 1, 2))(*low)
    exact = [x.astype(jnp.float32) for x in low]
    want = jax.grad(at_once(targets, 0.1), (0, 1, 2))(*exact, weights)
    for x, y in zip(got, want, strict=True):
        assert x.dtype == jnp.bfloat16
        # Of the logits and their gradients, each rounded to 8 bits.
        np.testing.assert_allclose(x.astype(jnp.float32), y, atol=0.03 * np.abs(y).max())


def test_an_output_layer_without_a_derivative_at_zero_has_gradients(case, monkeypatch):
    (states, matrix, _, weights), targets = case
    monkeypatch.setattr(blockwise_loss, "BLOCK_BYTES", 4 * 7 * 3 * 2)

    def cosine(matrix):
        unembed = lambda x: x / jnp.linalg.norm(x, axis=-1, keepdims=True) @ matrix  # noqa: E731
        return blockwise_loss.cross_entropy(unembed, states, targets, weights).loss

    assert jnp.isfinite(jax.grad(cosine)(matrix)).all()


def test_a_tie_counts_as_wrong(monkeypatch):
    monkeypatch.setattr(blockwise_loss, "BLOCK_BYTES", 1)
    states = jnp.array([[[1.0, 1.0, 0.0], [0.0, 2.0, 1.0]]])
    found = blockwise_loss.cross_entropy(lambda x: x, states, jnp.array([[0, 1]]), jnp.ones((1, 2)))
    assert found.correct == 1


@pytest.mark.parametrize(
    ("t", "most", "length"), [(32, 12, 8), (31, 12, 11), (32, 32, 32), (7, 100, 7), (5, 0, 1)]
)
def test_blocks_are_full_where_the_length_allows(t, most, length, monkeypatch):
    monkeypatch.setattr(blockwise_loss, "BLOCK_BYTES", 100 * most)
    assert blockwise_loss._block_length(100, t) == length


TINY = TransformerConfig(vocabulary_size=11, width=8, layers=1, heads=2, feed_forward=8)
MODELS = {
    "transformer": lambda: Seq2SeqTransformer(TINY, rngs=nnx.Rngs(0)),
    "untied": lambda: Seq2SeqTransformer(TINY._replace(tied=False), rngs=nnx.Rngs(0)),
    "rnn": lambda: Seq2SeqRNN(RNNConfig(vocabulary_size=11, width=8), rngs=nnx.Rngs(0)),
}


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=[pytest.mark.slow] * (x != "rnn")) for x in MODELS]
)
def test_translation_in_blocks_is_that_of_all_logits(name, pairs_batch, monkeypatch):
    model, batch = MODELS[name](), pairs_batch
    graph, params = nnx.split(model)

    def loss(params):
        return objectives.translation(nnx.merge(graph, params), batch, label_smoothing=0.1).loss

    def whole(params):
        model = nnx.merge(graph, params)
        memory = model.encode(batch.source, batch.source_mask)
        logits = model.decode(batch.target_in, memory)
        return objectives.of_logits(
            logits, batch.target_out, batch.weights, label_smoothing=0.1
        ).loss

    monkeypatch.setattr(blockwise_loss, "BLOCK_BYTES", 4 * 11 * len(batch.source) * 2)
    got, want = (
        jax.jit(jax.value_and_grad(loss))(params),
        jax.jit(jax.value_and_grad(whole))(params),
    )
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), got, want)


def test_a_model_that_changes_its_logits_is_not_read_around():
    class Louder(TransformerLM):
        def logits(self, tokens, *, rngs=None):
            return 2 * super().logits(tokens, rngs=rngs)

    tokens = jnp.array([[4, 5, 6]])
    batch = TokenBatch(tokens, tokens, jnp.ones((1, 3)))
    model, plain = Louder(TINY, rngs=nnx.Rngs(0)), TransformerLM(TINY, rngs=nnx.Rngs(0))
    for own in (model, plain):
        want = objectives.of_logits(own.logits(tokens), tokens, batch.weights)
        np.testing.assert_allclose(objectives.next_token(own, batch).loss, want.loss, rtol=1e-5)
    plain.logits = model.logits
    assert not objectives.of_one_class(plain, "logits", "states")
    assert not objectives.of_one_class(model, "logits", "states")
    assert objectives.of_one_class(TransformerLM(TINY, rngs=nnx.Rngs(0)), "logits", "states")
