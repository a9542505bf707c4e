"""An ensemble against the average of its models' probabilities, token by token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import BOS
from attention_jax.decoding import DecodingConfig, Ensemble, Translator
from attention_jax.models.seq2seq_rnn import Seq2SeqRNN
from attention_jax.nn.protocols import EncoderOutput, Seq2Seq
from attention_jax.nn.recurrent import RNNConfig
from tests.support.prefix_tables import start, step, tables


class Table(nnx.Module):
    """A model whose logits stand in a table."""

    def __init__(self, seed: int):
        self.seed = seed

    def encode(self, source, source_mask, *, rngs=None):
        return EncoderOutput(source[:, :, None].astype(float), source_mask)

    def start(self, memory, max_length):
        return start(tables(len(memory.states), seed=self.seed))

    def step(self, state, token):
        return step(state, token)

    def decode(self, target, memory, *, rngs=None):
        state, found = self.start(memory, target.shape[1]), []
        for token in target.T:
            state, logits = self.step(state, token)
            found.append(logits)
        return jnp.stack(found, axis=1)


class Narrow(Table):
    """One whose vocabulary is smaller by a word."""

    def step(self, state, token):
        state, logits = step(state, token)
        return state, logits[:, :-1]


SOURCE = jnp.full((1, 2), 3), jnp.ones((1, 2), bool)


@pytest.mark.slow
def test_probabilities_are_averaged_in_steps_and_at_once():
    ensemble = Ensemble([Table(0), Table(1), Table(2)])
    memory = ensemble.encode(*SOURCE)
    state, prefix = ensemble.start(memory, 4), 0
    at_once = ensemble.decode(jnp.array([[BOS, 3, 4]]), memory)
    for place, token in enumerate((BOS, 3, 4)):
        state, logits = ensemble.step(state, jnp.array([token]))
        prefix = prefix * 5 + token
        each = [tables(1, seed=seed)[0, prefix].astype(np.float64) for seed in range(3)]
        expected = np.mean([np.exp(x) / np.exp(x).sum() for x in each], axis=0)
        np.testing.assert_allclose(np.exp(logits[0]), expected, rtol=1e-5)
        np.testing.assert_allclose(np.exp(at_once[0, place]), expected, rtol=1e-5)


def test_models_of_two_vocabularies_and_no_models_are_refused():
    ensemble = Ensemble([Table(0), Narrow(0)])
    with pytest.raises(ValueError, match=r"`models` must have one vocabulary; got sizes \[4, 5\]"):
        ensemble.step(ensemble.start(ensemble.encode(*SOURCE), 4), jnp.array([BOS]))
    with pytest.raises(ValueError, match="`models` must hold at least one model; got none"):
        Ensemble([])


@pytest.mark.slow
def test_a_model_twice_translates_as_once():
    tokenizer = Tokenizer.learn(["1 2 3 4"], kind="word")
    config = RNNConfig(tokenizer.size, width=8, attention="additive")
    search = DecodingConfig("beam", beam_size=3, nbest=2, token_scores=True)

    def translated(model: nnx.Module):
        graphdef, params = nnx.split(model)
        return Translator(graphdef, tokenizer, search, rows=2)(nnx.as_pure(params), ["1 2", "4"])

    first, second = (Seq2SeqRNN(config, rngs=nnx.Rngs(seed)) for seed in (0, 1))
    alone, twice = translated(first), translated(Ensemble([first, first]))
    for ours, other in zip(sum(alone, []), sum(twice, []), strict=True):
        assert ours.tokens == other.tokens
        np.testing.assert_allclose(ours.score, other.score, rtol=1e-5)
    both = sum(translated(Ensemble([first, second])), [])
    assert isinstance(Ensemble([first]), Seq2Seq)
    assert any(x.score != y.score for x, y in zip(both, sum(alone, []), strict=True))
    assert jax.tree.all(jax.tree.map(np.isfinite, [x.token_scores for x in both]))
