"""States that follow the beams of a search, beside the same whose every part the search moves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.decoding import search, stages
from attention_jax.models.seq2seq_rnn import Seq2SeqRNN
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn.protocols import BeamState
from attention_jax.nn.recurrence import Recurrence
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig

TOKENS = 11
TRANSFORMERS = {
    "dot products": {"attention": "dot"},
    "heads that share keys": {"heads": 4, "kv_heads": 2, "positions": "rope"},
    "distances": {"attention": "alibi"},
    "a state": {"attention": "linear"},
    "keys that layers share": {"kv_sharing": 2, "positions": "rope"},
    "another between the sequences": {"cross_attention": "coverage"},
    "a recurrence, one vector": {"recurrence": Recurrence("rg_lru"), "cross_attention": "none"},
}
RNNS = {
    "additive": {},
    "none": {"attention": "none"},
    "coverage": {"attention": "coverage"},
    "heads of dot products": {"attention": "dot", "decoder_heads": 2},
    "heads of another score": {"decoder_heads": 2},
}


def build(name):
    own = {"vocabulary_size": TOKENS, "width": 16, "layers": 2, "dropout_rate": 0.0}
    if name in RNNS:
        return Seq2SeqRNN(RNNConfig(**own | RNNS[name]), rngs=nnx.Rngs(0))
    config = TransformerConfig(**own | {"heads": 2, "feed_forward": 16} | TRANSFORMERS[name])
    return Seq2SeqTransformer(config, rngs=nnx.Rngs(0))


def flattened(step, state):
    """The same step and state, as a list of arrays, which the search itself moves."""
    leaves, kind = jax.tree.flatten(state)

    def plain(leaves, token):
        state, logits = step(jax.tree.unflatten(kind, leaves), token)
        return jax.tree.leaves(state), logits

    return plain, leaves


# Others stand for these in the fast tests.
LONG = ("a recurrence, one vector", "heads of dot products")
ALL = [
    pytest.param(name, marks=pytest.mark.slow) if name in LONG else name
    for name in (*TRANSFORMERS, *RNNS)
]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ALL)
def test_a_search_finds_what_it_finds_where_all_moves(name):
    model = build(name)
    source = jax.random.randint(jax.random.key(1), (3, 6), 3, TOKENS)
    mask = jnp.arange(6)[None] < jnp.array([[6], [4], [5]])

    @jax.jit
    def both(temperature):
        def step(state, token):
            # Sharper than a model without training is, so that beams leave each other.
            state, logits = model.step(state, token)
            return state, logits * temperature

        state = model.start(model.encode(source, mask), 12)
        # Two tokens are read before the search begins.
        for token in (jnp.full(3, 4), jnp.full(3, 7)):
            state, _ = model.step(state, token)
        assert isinstance(state, BeamState)
        options = {"max_length": 9, "beam_size": 4, "nbest": 3, "length_penalty": 0.6}
        return [search.beam(*given, **options) for given in ((step, state), flattened(step, state))]

    found, expected = both(jnp.float32(4.0))
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-5)
    assert len({tuple(x) for x in np.asarray(found.tokens[0]).tolist()}) == 3


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["dot products", "distances"])
def test_a_search_in_stages_finds_the_same(name, monkeypatch):
    model = build(name)
    source = jax.random.randint(jax.random.key(1), (3, 6), 3, TOKENS)

    def searches():
        state = model.start(model.encode(source, jnp.ones(source.shape, bool)), 11)
        state, _ = model.step(state, jnp.full(3, 4))
        found = search.beam(model.step, state, max_length=10, beam_size=3)
        return found, search.greedy(model.step, state, max_length=10)

    expected = jax.jit(searches)()
    monkeypatch.setattr(stages, "LEAST_BYTES", 0)
    monkeypatch.setattr(stages, "SHORTEST", 2)
    state = model.start(model.encode(source, jnp.ones(source.shape, bool)), 11)
    assert stages.lengths(state, 10) == [3, 5, 10]
    for got, want in zip(jax.jit(searches)(), expected, strict=True):
        np.testing.assert_array_equal(got.tokens, want.tokens)
        np.testing.assert_allclose(got.scores, want.scores, rtol=1e-4, atol=1e-5)
