"""A state that was started for some tokens takes no more in silence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.decoding import search
from attention_jax.models.language import RNNLM, TransformerLM
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn.attention import MultiHeadAttention
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig

SIZES = {"width": 8, "layers": 1, "heads": 2, "feed_forward": 8}
ROOM, TOKEN = 3, jnp.array([4])


def started(kind, attention="scaled_dot"):
    """A model, and its state with room for `ROOM` tokens."""
    if kind == "rnn":
        model = RNNLM(RNNConfig(9, width=8, layers=1, attention=attention), rngs=nnx.Rngs(0))
        return model, model.start(1, ROOM)
    config = TransformerConfig(9, **SIZES, attention=attention)
    if kind == "language":
        model = TransformerLM(config, rngs=nnx.Rngs(0))
        return model, model.start(1, ROOM)
    model = Seq2SeqTransformer(config, rngs=nnx.Rngs(0))
    source = jnp.array([[4, 5]])
    return model, model.start(model.encode(source, source > 0), ROOM)


CASES = [
    ("language", "scaled_dot"),
    ("seq2seq", "latent"),
    pytest.param("seq2seq", "scaled_dot", marks=pytest.mark.slow),
    pytest.param("language", "linear", marks=pytest.mark.slow),
    pytest.param("language", "local_monotonic", marks=pytest.mark.slow),
    ("rnn", "scaled_dot"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "attention"), CASES)
def test_beyond_its_room_a_state_gives_nan_or_refuses(kind, attention):
    model, state = started(kind, attention)
    run = jax.jit(lambda state: jax.lax.scan(lambda s, _: model.step(s, TOKEN), state, None, 5))
    after, logits = run(state)
    wrong = np.isnan(logits).any((1, 2))
    assert wrong.tolist() == [False] * ROOM + [True] * 2
    assert state.tokens_left == ROOM
    full = state._replace(position=jnp.full(1, ROOM))
    assert full.tokens_left == 0
    with pytest.raises(ValueError, match="A step at position 3 finds no room.* for 3 positions"):
        model.step(full, TOKEN)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", ["language", "seq2seq", "rnn"])
def test_a_search_needs_room_for_its_longest_sentence(kind):
    model, state = started(kind)
    message = "`max_length` must be at most .* got max_length=4, room for 3"
    searches = (
        search.greedy,
        search.beam,
        lambda *x, **y: search.sample(*x, key=jax.random.key(0), **y),
    )
    for choose in searches:
        with pytest.raises(ValueError, match=message):
            choose(model.step, state, max_length=ROOM + 1)
        # Also within a larger state, as a prompt beside it, and where all is traced.
        with pytest.raises(ValueError, match=message):
            jax.jit(lambda x, choose=choose: choose(model.step, (x, TOKEN), max_length=ROOM + 1))(
                state
            )
    read = state._replace(position=jnp.full(1, 2))
    with pytest.raises(ValueError, match="got max_length=2, room for 1"):
        search.greedy(model.step, read, max_length=2)


def test_a_recurrent_state_takes_any_number():
    model, state = started("rnn", "none")
    assert state.tokens_left is None
    search.greedy(lambda s, token: (s, jnp.eye(9)[token]), state, max_length=ROOM + 1)


@pytest.mark.slow
def test_the_cache_of_a_layer_is_guarded_by_itself(draw):
    layer = MultiHeadAttention(8, heads=2, variant="alibi", rngs=nnx.Rngs(0))
    cache, x = layer.init_cache(1, ROOM), draw(1, 1, 8)
    with pytest.raises(ValueError, match="A step at position 3 finds no room"):
        layer.decode_step(x, cache, jnp.int32(ROOM))
    step = jax.jit(lambda at: layer.decode_step(x, cache, at)[1])
    assert jnp.isnan(step(ROOM)).all() and jnp.isfinite(step(ROOM - 1)).all()
