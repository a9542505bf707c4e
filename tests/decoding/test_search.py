"""Decoding against brute force: a table gives the logits for every prefix there can be."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.data.types import BOS, EOS, PAD
from attention_jax.decoding import logits, search
from tests.support.prefix_tables import (
    LENGTH,
    VOCABULARY,
    WORDS,
    decode,
    log_probability,
    sentences,
    start,
    step,
    tables,
)


def brute_force(table: np.ndarray, length_penalty: float) -> list[tuple[float, tuple[int, ...]]]:
    """All sentences: what ended first, then what did not, each in order of score."""
    sentences = [
        (*words, *end)
        for length in range(LENGTH + 1)
        for words in itertools.product(WORDS, repeat=length)
        for end in ([(EOS,)] if length < LENGTH else [()])
    ]
    scored = [
        (log_probability(table, y) / ((5 + len(y)) / 6) ** length_penalty, y) for y in sentences
    ]
    return sorted(scored, key=lambda pair: (pair[1][-1] != EOS, -pair[0]))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 3.0])
def test_a_beam_that_holds_everything_finds_what_brute_force_finds(length_penalty):
    table = tables(3)
    options = {"beam_size": 32, "nbest": 31, "length_penalty": length_penalty}
    decoded = decode("beam", step, start(table), max_length=LENGTH, **options)
    for row in range(3):
        expected = brute_force(table[row], length_penalty)
        assert len(expected) == 31  # 15 that ended and 16 that did not
        assert sentences(decoded, row) == [y for _, y in expected]
        np.testing.assert_allclose(decoded.scores[row], [s for s, _ in expected], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("nbest", [1, 2, 5])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_stopping_early_changes_no_answer(nbest, length_penalty):
    table = tables(8, seed=1)
    decoded = search.beam(
        step,
        start(table),
        max_length=LENGTH,
        beam_size=32,
        nbest=nbest,
        length_penalty=length_penalty,
    )
    for row in range(8):
        expected = brute_force(table[row], length_penalty)[:nbest]
        assert sentences(decoded, row) == [y for _, y in expected]


@pytest.mark.slow
def test_a_beginning_that_only_its_length_will_redeem_is_followed():
    """An end of probability 0.4 comes first, but 0.34, then certain for three tokens, wins."""
    table = np.full((1, VOCABULARY ** (LENGTH + 1), VOCABULARY), -40.0, np.float32)
    table[0, BOS, [EOS, 3, 4]] = np.log([0.4, 0.34, 0.26])
    table[0, [8, 43], 3] = table[0, 218, EOS] = 40.0  # after 3, after 3 3, after 3 3 3
    decoded = decode("beam", step, start(table), max_length=LENGTH, beam_size=2)
    assert sentences(decoded, 0) == [(3, 3, 3, EOS)]
    assert float(decoded.scores[0, 0]) == pytest.approx(math.log(0.34) / (9 / 6), rel=1e-5)


def searched(table: np.ndarray, k: int, length_penalty: float) -> list[tuple[int, ...]]:
    """Beam search in loops, which never stops early."""
    beams, ended = [()], []
    for length in range(1, LENGTH + 1):
        continued = [(*y, token) for y in beams for token in (EOS, *WORDS)]
        continued.sort(key=lambda y: -log_probability(table, y))
        for y in [y for y in continued[:k] if y[-1] == EOS]:
            penalty = ((5 + length) / 6) ** length_penalty
            ended.append((log_probability(table, y) / penalty, y))
        beams = [y for y in continued if y[-1] != EOS][:k]
    return [y for _, y in sorted(ended, reverse=True)] + beams


@pytest.mark.sampled(1)
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("beam_size", [2, 3])
def test_a_narrow_beam_searches_as_the_loops_do(beam_size, length_penalty):
    table = tables(64, seed=8)
    decoded = decode(
        "beam",
        step,
        start(table),
        max_length=LENGTH,
        beam_size=beam_size,
        nbest=2,
        length_penalty=length_penalty,
    )
    for row in range(64):
        assert sentences(decoded, row) == searched(table[row], beam_size, length_penalty)[:2]


@pytest.mark.slow
def test_fewer_sentences_than_asked_for_leave_empty_places():
    decoded = decode("beam", step, start(tables(1)), max_length=1, beam_size=8, nbest=5)
    assert sorted(sentences(decoded, 0)[:3]) == [(EOS,), (3,), (4,)]
    assert decoded.lengths.tolist() == [[1, 1, 1, 0, 0]]
    assert np.isneginf(decoded.scores[0, 3:]).all() and np.isfinite(decoded.scores[0, :3]).all()


@pytest.mark.slow
def test_a_beam_of_one_without_penalty_is_greedy():
    table = tables(64, seed=2)
    options = {"max_length": LENGTH, "beam_size": 1, "length_penalty": 0.0}
    one = decode("beam", step, start(table), **options)
    greedy = decode("greedy", step, start(table), max_length=LENGTH)
    np.testing.assert_array_equal(one.tokens, greedy.tokens)
    np.testing.assert_allclose(one.scores, greedy.scores, rtol=1e-5)
    assert len(set(greedy.lengths.ravel().tolist())) == LENGTH  # every length occurs


def test_greedy_takes_the_most_probable_token_at_every_position():
    table = tables(16, seed=3)
    decoded = decode("greedy", step, start(table), max_length=LENGTH)
    for row in range(16):
        prefix, expected = BOS, []
        while len(expected) < LENGTH and EOS not in expected:
            expected.append(max((EOS, *WORDS), key=lambda token: table[row, prefix, token]))
            prefix = prefix * VOCABULARY + expected[-1]
        assert sentences(decoded, row) == [tuple(expected)]
        got = float(decoded.scores[row, 0])
        assert got == pytest.approx(log_probability(table[row], tuple(expected)), rel=1e-5)


def decoders():
    return {
        "greedy": lambda state: search.greedy(step, state, max_length=LENGTH),
        "sample": lambda state: search.sample(
            step, state, max_length=LENGTH, key=jax.random.key(0), top_k=3, top_p=0.9
        ),
        "beam": lambda state: search.beam(step, state, max_length=LENGTH, beam_size=3, nbest=2),
    }


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", decoders())
def test_the_other_rows_of_a_batch_change_nothing(name):
    run, table = jax.jit(decoders()[name]), tables(6, seed=4)
    together = run(start(table))
    if name == "sample":  # each row draws its own numbers, so a row keeps its place
        other = run(start(np.concatenate([tables(3, seed=5), table[3:], table])))
        for ours, theirs in zip(together, other, strict=True):
            np.testing.assert_array_equal(ours[3:], theirs[3:6])
        return
    for row in range(6):
        alone = run(start(table[row : row + 1]))
        for ours, whole in zip(alone, together, strict=True):
            np.testing.assert_array_equal(ours[0], whole[row])


@pytest.mark.slow
@pytest.mark.parametrize("name", decoders())
def test_jit_changes_nothing(name):
    run, state = decoders()[name], start(tables(4, seed=6))
    eager, jitted = run(state), jax.jit(run)(state)
    np.testing.assert_array_equal(eager.tokens, jitted.tokens)
    np.testing.assert_allclose(eager.scores, jitted.scores, rtol=1e-5)


def constant(logits):
    """A step whose logits never change, and a state of `rows` rows for it."""
    row = jnp.asarray(logits, jnp.float32)
    return lambda state, token: (state, jnp.broadcast_to(row, (token.shape[0], row.size)))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_padding_and_beginning_are_never_produced(method):
    options = {"key": jax.random.key(0)} if method == "sample" else {}
    always = constant([9.0, 8.0, 0.0, 1.0, 1.0])
    decoded = decode(method, always, jnp.zeros(50), max_length=3, **options)
    for row in range(50):
        assert {PAD, BOS}.isdisjoint(sentences(decoded, row)[0])


@pytest.mark.slow
def test_decoding_stops_once_every_row_has_ended():
    calls = []

    def ends_at_row_number(state, token):
        jax.debug.callback(lambda: calls.append(1))
        ends = state["position"] >= state["row"]
        state = {"position": state["position"] + 1, "row": state["row"]}
        return state, jnp.where(ends[:, None], 40.0, -40.0) * jnp.eye(5)[EOS][None]

    state = {"position": jnp.zeros(3, jnp.int32), "row": jnp.arange(3)}
    for run in (search.greedy, search.beam):
        calls.clear()
        decoded = run(ends_at_row_number, state, max_length=100)
        jax.effects_barrier()
        assert decoded.lengths[:, 0].tolist() == [1, 2, 3]
        assert len(calls) == 3


@pytest.mark.slow
def test_draws_follow_the_tempered_distribution():
    logits, temperature, rows = np.array([9.0, 9.0, 0.0, 1.0, 2.0, 0.5]), 0.7, 20_000
    decoded = decode(
        "sample",
        constant(logits),
        jnp.zeros(rows),
        key=jax.random.key(1),
        max_length=1,
        temperature=temperature,
    )
    expected = np.exp(logits / temperature)
    expected[:2] = 0.0
    expected /= expected.sum()
    found = np.bincount(decoded.tokens.ravel(), minlength=6) / rows
    # Five standard deviations of a frequency.
    assert (abs(found - expected) <= 5 * np.sqrt(expected * (1 - expected) / rows)).all()
    token = int(decoded.tokens[0, 0, 0])
    assert float(decoded.scores[0, 0]) == pytest.approx(
        logits[token] - np.log(np.exp(logits).sum()), rel=1e-5
    )


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "options, support",
    [
        ({}, {2, 3, 4, 5, 6}),
        ({"top_p": 1.0}, {2, 3, 4, 5, 6}),
        ({"top_k": 99}, {2, 3, 4, 5, 6}),
        ({"top_k": 3}, {5, 3, 6}),
        ({"top_k": 1}, {5}),
        ({"top_p": 0.65}, {5, 3}),  # 0.4, then 0.7
        ({"top_p": 0.75}, {5, 3, 6}),
        ({"top_p": 1e-6}, {5}),
        ({"top_k": 3, "top_p": 0.75}, {5, 3}),  # of the three kept these hold 0.778
    ],
)
def test_only_what_is_kept_is_drawn_and_all_of_it(options, support):
    shares = [1e-30, 1e-30, 0.03, 0.3, 0.07, 0.4, 0.2]
    key, always = jax.random.key(2), constant(np.log(shares))
    decoded = decode("sample", always, jnp.zeros(2000), key=key, max_length=1, **options)
    assert set(decoded.tokens.ravel().tolist()) == support


@pytest.mark.slow
def test_positions_and_rows_draw_their_own_numbers():
    logits = [0.0, 0.0, -50.0] + [0.0] * 97

    @jax.jit
    def draw(seed):
        key = jax.random.key(seed)
        return search.sample(constant(logits), jnp.zeros(40), key=key, max_length=10).tokens

    tokens = draw(0)
    assert len(np.unique(tokens[:, 0], axis=0)) == 40
    assert len(np.unique(tokens[:, 0].T, axis=0)) == 10
    np.testing.assert_array_equal(tokens, draw(0))
    assert (tokens != draw(1)).any()


@pytest.mark.parametrize("v", [1, 7, 64, 101, 1000])
@pytest.mark.parametrize("k", [1, 3, 50])
def test_searching_groups_finds_the_largest(v, k):
    x = np.random.default_rng(7).permuted(np.arange(3.0 * v).reshape(3, v), axis=1)
    places = np.argsort(-x, axis=1)[:, :k]  # no two are equal
    found = jax.jit(lambda x: logits.largest(x, k))(jnp.asarray(x, jnp.float32))
    for got, expected in zip(found, (np.take_along_axis(x, places, axis=1), places), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.slow
def test_where_nothing_else_is_possible_the_tokens_stay_in_range():
    values, tokens = logits.largest(jnp.full((2, 101), -jnp.inf).at[:, 100].set(1.0), 3)
    assert tokens.max() <= 100 and tokens[0, 0] == 100 and np.isneginf(values[:, 1:]).all()


def test_a_state_that_is_not_touched_is_not_gathered():
    size = tables(2).size
    jaxpr = jax.make_jaxpr(lambda s: search.beam(step, s, max_length=3))(start(tables(2)))
    loop = next(e for e in jaxpr.eqns if e.primitive.name == "while")
    body = loop.params["body_jaxpr"].jaxpr
    assert all(v.aval.size < size for e in body.eqns for v in e.outvars)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"beam_size": 0}, "`beam_size` must be a whole number of at least 1; got 0"),
        ({"nbest": 0}, "`nbest` must be a whole number of at least 1; got 0"),
        ({"max_length": 0}, "`max_length` must be a whole number of at least 1; got 0"),
        ({"beam_size": 2, "nbest": 3}, "`nbest` must be at most `beam_size`; got nbest=3"),
        ({"length_penalty": -1.0}, "`length_penalty` must be 0 or more and finite; got -1.0"),
        ({"length_penalty": math.nan}, "`length_penalty` must be finite.*got nan"),
    ],
)
def test_beam_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        search.beam(step, start(tables(1)), **{"max_length": 3, **options})


@pytest.mark.parametrize(
    "options, message",
    [
        ({"temperature": 0.0}, "`temperature` must be above 0 and finite; got 0.0.*`greedy`"),
        ({"temperature": math.inf}, "`temperature` must be finite.*got inf"),
        ({"top_k": 0}, "`top_k` must be a whole number of at least 1; got 0"),
        ({"top_p": 0.0}, r"`top_p` must lie in \(0, 1\]; got 0.0"),
        ({"top_p": 1.5}, r"`top_p` must lie in \(0, 1\]; got 1.5"),
        ({"max_length": -1}, "`max_length` must be a whole number of at least 1; got -1"),
        ({"key": jax.random.PRNGKey(0)}, "`key` must be one random key"),
        ({"key": jax.random.split(jax.random.key(0), 2)}, "or one for each of 1 rows"),
    ],
)
def test_sample_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        search.sample(
            step, start(tables(1)), **{"max_length": 3, "key": jax.random.key(0), **options}
        )


@pytest.mark.slow
def test_sample_takes_a_key_a_row():
    keys = jax.random.split(jax.random.key(3), 4)
    options = {"max_length": 6, "temperature": 3.0}
    together = search.sample(step, start(tables(4)), key=keys, **options)
    turned = search.sample(
        step, jax.tree.map(lambda x: x[::-1], start(tables(4))), key=keys[::-1], **options
    )
    assert len(np.unique(together.tokens, axis=0)) > 1
    np.testing.assert_array_equal(turned.tokens[::-1], together.tokens)


@pytest.mark.parametrize("state", [{}, jnp.zeros(()), (jnp.zeros(2), jnp.zeros(3))])
def test_a_state_must_lead_with_the_batch(state):
    with pytest.raises(ValueError, match="every leaf of `state` must lead with the batch axis"):
        search.greedy(step, state, max_length=3)
