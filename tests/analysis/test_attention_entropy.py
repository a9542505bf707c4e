"""The entropy of attention is that of its definition, and alignments have a row for each token."""

import numpy as np
import pytest
from flax import nnx

from attention_jax.analysis import attention_entropy, attention_maps
from attention_jax.data.batching import encode_examples
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import Example
from attention_jax.models.seq2seq_rnn import Seq2SeqRNN
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.learn(["1 2 3", "4", "5 6 7 8 9 1 2 3 4"], kind="word")


@pytest.fixture(scope="module", params=["transformer", "rnn", "rnn without attention"])
def model(request, tokenizer):
    rngs = nnx.Rngs(0)
    if request.param == "transformer":
        sizes = {"width": 8, "heads": 2, "layers": 1, "feed_forward": 8}
        return nnx.split(Seq2SeqTransformer(TransformerConfig(tokenizer.size, **sizes), rngs=rngs))
    attention = "none" if "without" in request.param else "additive"
    config = RNNConfig(tokenizer.size, width=8, attention=attention)
    return nnx.split(Seq2SeqRNN(config, rngs=rngs))


@pytest.mark.sampled(1)
def test_alignment_has_a_row_for_each_token_written(model, tokenizer):
    graphdef, params = model[0], nnx.as_pure(model[1])
    target = (*tokenizer.encode("4 5"), 2)
    drawn = attention_entropy.alignment(graphdef, params, tokenizer, "1 2 3", target)
    if drawn is None:
        assert "learned" not in params  # the parameters of a score
        return
    weights, source_tokens, target_tokens = drawn
    assert weights.shape[2:] == (3, 4)
    assert len(source_tokens) == 4 and target_tokens[:2] == ["4", "5"]
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)


@pytest.mark.slow
def test_effective_tokens_are_e_to_the_entropy_of_each_step(model, tokenizer):
    graphdef, params = model[0], nnx.as_pure(model[1])
    examples = [Example("1 2 3", ("4 5",)), Example("5 6 7 8 9 1", ("2",))]
    pairs = encode_examples(examples, tokenizer)
    found = attention_entropy.effective_tokens(graphdef, params, pairs)
    rows = []
    for example, (_, target) in zip(examples, pairs, strict=True):
        drawn = attention_entropy.alignment(
            graphdef, params, tokenizer, example.source, (*target, 2)
        )
        if drawn is None:
            assert found is None
            return
        for weights in drawn[0].astype(np.float64).reshape(-1, *drawn[0].shape[2:]).swapaxes(0, 1):
            rows.append([np.prod(head[head > 0] ** -head[head > 0]) for head in weights])
    of_heads = np.mean(rows, axis=0)  # 3 rows of the first sentence, 2 of the second
    assert len(rows) == 5 and found is not None
    np.testing.assert_allclose(found.effective, of_heads.mean(), rtol=1e-5)
    np.testing.assert_allclose(found.sharpest, of_heads.min(), rtol=1e-5)
    assert found.source == (3 * 4 + 2 * 7) / 5 and 1 <= found.sharpest <= found.source


def test_a_head_that_attends_to_nothing_draws_on_no_token(model, tokenizer, monkeypatch):
    weights = np.zeros((2, 1, 2, 8, 8), np.float32)
    weights[:, :, 0, :, 3] = 1
    rows = weights[..., 0]
    found = {"cross": attention_maps.Weights(weights, rows, rows, rows)}
    monkeypatch.setattr(attention_maps, "weights_of", lambda *args, **options: found)
    pairs = encode_examples([Example("1 2", ("4",)), Example("4", ("5 6",))], tokenizer)
    got = attention_entropy.effective_tokens(model[0], nnx.as_pure(model[1]), pairs)
    assert (got.effective, got.sharpest) == (0.5, 0)


def test_shares_count_weights_by_their_size():
    shares, rows = attention_entropy.shares(np.array([[1.0, -3.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(shares, [[0.25, 0.75], [0, 0]])
    np.testing.assert_array_equal(rows, [True, False])
    expected = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    np.testing.assert_allclose(attention_entropy.entropy(shares), [expected, 0], rtol=1e-6)
