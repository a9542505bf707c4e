"""The coverage penalty is that of its equation, and orders hypotheses by it."""

import math

import jax
import numpy as np
import pytest
from flax import nnx

from attention_jax.analysis import attention_entropy, coverage
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import EOS
from attention_jax.decoding.batched import Hypothesis
from attention_jax.models.seq2seq_rnn import Seq2SeqRNN
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig

TOKENIZER = Tokenizer.learn(["1 2 3 4 5 6 7 8 9"], kind="word")


def loops(weights):
    """Equation 15, a source token after the other."""
    total = 0.0
    for j in range(weights.shape[1]):
        total += math.log(min(sum(float(row[j]) for row in weights), 1.0))
    return total


def model(kind):
    rngs = nnx.Rngs(0)
    if kind == "transformer":
        sizes = {"width": 8, "heads": 2, "layers": 2, "feed_forward": 8}
        made = Seq2SeqTransformer(TransformerConfig(TOKENIZER.size, **sizes), rngs=rngs)
    else:
        made = Seq2SeqRNN(RNNConfig(TOKENIZER.size, width=8, attention=kind), rngs=rngs)
    graphdef, params = nnx.split(made)
    # Sharper than a model begins, so that hypotheses cover differently.
    return graphdef, jax.tree.map(lambda x: 2 * x, nnx.as_pure(params))


def penalty(graphdef, params, source, target):
    """Of one sentence by itself, from the weights that pictures show."""
    drawn = attention_entropy.alignment(graphdef, params, TOKENIZER, source, target)
    return loops(drawn[0][-1].mean(axis=0))


def test_the_penalty_is_that_of_the_equation():
    weights = np.random.default_rng(0).dirichlet(np.full(6, 0.3), size=4)
    assert coverage.coverage_penalty(weights) == pytest.approx(loops(weights), rel=1e-9)
    assert coverage.coverage_penalty(np.eye(3)) == 0.0
    unread = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert coverage.coverage_penalty(unread) == pytest.approx(math.log(1e-9))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["transformer", "additive"])
def test_hypotheses_are_ranked_by_score_and_coverage(kind):
    graphdef, params = model(kind)
    source = TOKENIZER.encode("1 2 3 4 5")
    ids = [(*TOKENIZER.encode(text), EOS) for text in ("6 7 8", "9", "3 3 3 3")]
    ids.append(tuple(TOKENIZER.encode("1 2")))  # was cut
    penalties = [penalty(graphdef, params, "1 2 3 4 5", own) for own in ids]
    # The less one covers, the better its score.
    order = np.argsort(penalties[:3])
    assert penalties[order[2]] - penalties[order[0]] > 0.05
    scores = [-1.0 - 0.001 * rank for rank in np.argsort(order)] + [-0.5]
    found = [
        Hypothesis(str(n), own, score, is_cut=n == 3)
        for n, (own, score) in enumerate(zip(ids, scores, strict=True))
    ]
    found.append(Hypothesis("none", (), -math.inf))
    for strength, best in ((0.0, order), (50.0, order[::-1])):
        got = coverage.rerank(graphdef, params, source, found, strength=strength)
        # What was cut comes after what ended, what does not exist last.
        assert [one.text for one in got] == [*map(str, best), "3", "none"]
        expected = [scores[n] + strength * penalties[n] for n in (*best, 3)]
        np.testing.assert_allclose([one.score for one in got[:4]], expected, rtol=1e-4)


def test_a_model_that_attends_to_nothing_is_refused():
    graphdef, params = model("none")
    one = Hypothesis("1", (*TOKENIZER.encode("1"), EOS), -1.0)
    with pytest.raises(ValueError, match="`coverage_penalty` needs one model that attends to the"):
        coverage.rerank(graphdef, params, TOKENIZER.encode("2"), [one], strength=0.2)
    assert coverage.rerank(graphdef, params, [], [], strength=0.2) == []
