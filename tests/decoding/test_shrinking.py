"""Batches that shrink: the results are those of the search that keeps all rows to the end."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.data.batching import pad
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import EOS
from attention_jax.decoding import loops, search, shrinking, stages
from attention_jax.decoding.batched import BatchedDecoder, DecodingConfig, hypotheses, loop_of
from attention_jax.decoding.ensemble import Ensemble
from attention_jax.decoding.options import DecodingOptions
from attention_jax.models.seq2seq_rnn import Seq2SeqRNN
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig

ROWS, LONGEST, WORDS = 13, 24, 11


def transformer(attention="scaled_dot"):
    config = TransformerConfig(WORDS, width=8, layers=1, heads=2, feed_forward=8)
    return Seq2SeqTransformer(config._replace(attention=attention), rngs=nnx.Rngs(0))


def rnn():
    return Seq2SeqRNN(RNNConfig(WORDS, width=8, layers=1, attention="additive"), rngs=nnx.Rngs(1))


MODELS = {
    "transformer": transformer,
    "rnn": rnn,
    "ensemble": lambda: Ensemble([transformer(), rnn()]),
    "linear": partial(transformer, "linear"),
}
LOOPS = {
    "greedy": search.greedy_loop,
    "sample": lambda **x: search.sample_loop(keys=jax.random.split(jax.random.key(3), ROWS), **x),
    "beam": partial(search.beam_loop, beam_size=3, nbest=2),
}
SLOW = [
    *(("transformer", "greedy"), ("transformer", "sample"), ("rnn", "greedy"), ("rnn", "beam")),
    *(("ensemble", "greedy"), ("ensemble", "beam"), ("linear", "beam")),
]
CASES = [("transformer", "beam"), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]


def uneven(model):
    """A step whose sentences grow likelier to end from a length on, and the state of the first."""
    source = jax.random.randint(jax.random.key(5), (ROWS, 6), EOS + 1, WORDS)
    wanted = jax.random.permutation(jax.random.key(6), jnp.arange(ROWS) * (LONGEST - 4) // ROWS)

    def step(state, token):
        own, wanted, position = state
        own, logits = model.step(own, token)
        more = jnp.where(position < wanted, -9.0, 6.0)
        return (own, wanted, position + 1), logits.at[:, EOS].add(more)

    state = model.start(model.encode(source, jnp.ones(source.shape, bool)), LONGEST)
    return step, (state, wanted, jnp.zeros(ROWS, jnp.int32))


def shrunk(loop, step, state, count=ROWS, fewest=1):
    """The results of a search from the host, and the rows and tokens of each program that ran."""
    stage = partial(shrinking.stage, loop, step, fewest=fewest)
    compiled = jax.jit(stage, static_argnames="length")
    sizes = []

    def go_on(path, asked, length):
        sizes.append((len(path.token), length))
        return compiled(path, asked, length=length)

    path = jax.jit(partial(shrinking.start, loop))(state)
    most = loop.max_length
    return shrinking.run(path, go_on, count=count, max_length=most, fewest=fewest), sizes


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("model", "method"), CASES)
def test_a_batch_that_shrinks_decodes_as_one_that_does_not(model, method):
    step, state = uneven(MODELS[model]())
    loop = LOOPS[method](max_length=LONGEST)
    expected = jax.jit(partial(loops.run, loop, step))(state)
    got, sizes = shrunk(loop, step, state)
    assert len(set(np.asarray(expected.lengths[:, 0]).tolist())) > 4
    assert sizes[0] == (ROWS, LONGEST) and sizes[-1] == (1, LONGEST)
    assert sizes == sorted(sizes, reverse=True)
    np.testing.assert_array_equal(got.tokens, expected.tokens)
    np.testing.assert_array_equal(got.lengths, expected.lengths)
    np.testing.assert_allclose(got.scores, expected.scores, rtol=1e-5)


@pytest.mark.parametrize(("fewest", "rows"), [(4, [13, 4]), (5, [13]), (13, [13])])
def test_a_batch_shrinks_to_the_fewest_rows_and_no_further(fewest, rows):
    step, state = uneven(MODELS["transformer"]())
    loop = LOOPS["greedy"](max_length=LONGEST)
    expected = jax.jit(partial(loops.run, loop, step))(state)
    got, sizes = shrunk(loop, step, state, fewest=fewest)
    assert [own for own, _ in sizes] == rows
    np.testing.assert_array_equal(got.tokens, expected.tokens)
    np.testing.assert_array_equal(got.lengths, expected.lengths)


@pytest.mark.slow
def test_rows_that_shrink_keep_the_room_of_their_stage(monkeypatch):
    """Stages of room and stages of rows in turn, and rules that look at what each row has."""
    monkeypatch.setattr(stages, "SHORTEST", 4)
    monkeypatch.setattr(stages, "LEAST_BYTES", 0)
    step, state = uneven(MODELS["transformer"]())
    before = jax.random.randint(jax.random.key(8), (ROWS, 3), EOS + 1, WORDS)
    options = DecodingOptions(no_repeat_ngram=2, repetition_penalty=1.5, before=before)
    for method in ("greedy", "beam"):
        loop = LOOPS[method](max_length=LONGEST, options=options)
        expected = jax.jit(partial(loops.run, loop, step))(state)
        got, sizes = shrunk(loop, step, state)
        rows, rooms = (list(dict.fromkeys(x)) for x in zip(*sizes, strict=True))
        assert len(rows) > 2 and rows == sorted(rows, reverse=True)
        assert len(rooms) > 2 and rooms == sorted(rooms)
        np.testing.assert_array_equal(got.tokens, expected.tokens)
        np.testing.assert_allclose(got.scores, expected.scores, rtol=1e-5)


def test_rows_of_padding_keep_no_batch_going():
    """The row that nobody asked for would go on for long; those that are asked for end soon."""

    def step(left, token):
        del token
        return left - 1, jnp.where(
            jnp.arange(5)[None] == EOS, 0.5 - left[:, None].astype(jnp.float32), 0.0
        )

    loop = search.greedy_loop(max_length=50)
    got, sizes = shrunk(loop, step, jnp.array([1, 1, 1, 99]), count=3)
    assert got.lengths.tolist() == [[2]] * 4 and sizes == [(4, 50)]


def test_a_second_call_compiles_nothing():
    tokenizer = Tokenizer.learn(["1 2 3 4 5 6 7"], kind="word")
    graphdef, params = nnx.split(transformer())
    config = DecodingConfig("beam", beam_size=2, token_scores=True)
    decoder = BatchedDecoder(graphdef, tokenizer, config)
    batch = pad([((4 + i % 7,) * (i % 5 + 1), ()) for i in range(6)], rows=8, length=8)
    names = [str(i) for i in range(6)]
    first = decoder(params, batch, names, max_length=12)
    programs: tuple[Any, ...] = (decoder._start, decoder._go_on, decoder._rescore)
    sizes = [program._cache_size() for program in programs]
    assert sizes[0] == sizes[2] == 1
    assert decoder(params, batch, names, max_length=12) == first
    assert [program._cache_size() for program in programs] == sizes

    @jax.jit
    def whole(params):
        model = nnx.merge(graphdef, params)
        source = jnp.asarray(batch.source)
        state = model.start(model.encode(source, source > 0), 12)
        return loops.run(loop_of(config, 12), model.step, state)

    expected = hypotheses(whole(params), tokenizer, config)[: len(names)]
    assert [x[0].tokens for x in first] == [x[0].tokens for x in expected]
    assert [x[0].score for x in first] == pytest.approx([x[0].score for x in expected], rel=1e-5)


@pytest.mark.parametrize("rows", range(1, 40))
def test_half_of_the_rows_is_a_power_of_two(rows):
    powers = [2**n for n in range(8)]
    assert shrinking.half(rows) == max((x for x in powers if 2 * x <= rows), default=0)
    assert shrinking.fitting(rows, 24) == min(24, next(x for x in powers if x >= rows))
