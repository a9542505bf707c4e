"""Equal calls compile once, and what functions captured is never taken from an earlier call."""

import contextlib
import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention, plan
from attention_jax.core import masks, normalizers, positions, scores
from attention_jax.engine import prepared, tiles

T = 9
DRAW = np.random.default_rng(0)
X = jnp.asarray(DRAW.normal(size=(2, T, 2, 4)), jnp.float32)
W = np.asarray(DRAW.normal(size=(4, 4)), np.float32)
IDS = np.array([[0] * 4 + [1] * 5] * 2)


def by_table(table):
    return lambda s, b, h, i, j: s * table[h]


# What is asked, made anew for every call.
ASKED = {
    "plain": lambda: {},
    "causal": lambda: dict(mask=masks.causal),
    "window": lambda: dict(mask=masks.causal & masks.sliding_window(3)),
    "lengths": lambda: dict(mask=masks.lengths(jnp.array([4, 7]))),
    "documents": lambda: dict(mask=masks.documents(jnp.array(IDS), jnp.array(IDS))),
    "mask of a user": lambda: dict(mask=masks.causal & (lambda b, h, i, j: j != 2)),
    "alibi": lambda: dict(score_mod=positions.alibi(heads=2), mask=masks.causal),
    "modifier of a user": lambda: dict(
        score_mod=lambda s, b, h, i, j: s - 0.1 * jnp.abs(i - j).astype(s.dtype)
    ),
    "captured": lambda: dict(score_mod=by_table(jnp.arange(2.0)), mask=masks.causal),
    "learned score": lambda: dict(score=scores.general(jnp.array(W))),
    "score of a user": lambda: dict(score=lambda q, k: q @ jnp.array(W) @ k),
    "entmax": lambda: dict(normalizer=normalizers.entmax(jnp.array([1.3, 1.7]))),
    "sink": lambda: dict(normalizer=normalizers.softmax_with_sink(jnp.array([0.5, 1.0]))),
    "offset": lambda: dict(mask=masks.causal, query_offset=3),
    "dropout": lambda: dict(dropout_rate=0.5, dropout_key=jax.random.key(1)),
}


@contextlib.contextmanager
def compiles():
    """How often XLA compiles meanwhile."""
    found: list[str] = []

    def listen(name: str, seconds: float, **rest: object) -> None:
        if "backend_compile" in name:
            found.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("implementation", [None, "blockwise", "reference"])
@pytest.mark.parametrize("name", ASKED)
def test_the_second_call_compiles_nothing(name, implementation):
    if name == "entmax" and implementation == "blockwise":
        pytest.skip("needs whole rows")
    make = ASKED[name]
    first = attention(X, X, X, implementation=implementation, **make())
    again = make()
    with compiles() as found:
        second = attention(X, X, X, implementation=implementation, **again)
    assert not found
    np.testing.assert_array_equal(first, second)
    whole = jax.jit(lambda x: attention(x, x, x, implementation=implementation, **make()))(X)
    np.testing.assert_allclose(second, whole, rtol=1e-6, atol=1e-6)


def test_a_first_call_compiles_once():
    x = jnp.asarray(DRAW.normal(size=(1, 11, 3, 5)), jnp.float32)
    with compiles() as found:
        attention(x, x, x, mask=masks.causal & masks.sliding_window(4))
    assert len(found) == 1


@pytest.mark.slow
def test_a_gradient_outside_of_jit_is_compiled_once():
    def gradient(x):
        return jax.grad(lambda x: attention(x, x, x, mask=masks.causal).sum())(x)

    gradient(X)
    with compiles() as found:
        gradient(X)
    assert not found


def test_a_plan_compiles_nothing():
    like = jax.ShapeDtypeStruct((1, 2**15, 2, 8), jnp.float32)
    with compiles() as found:
        known = plan(like, like, like, mask=masks.causal & masks.sliding_window(100))
        plan(like, like, like, mask=masks.causal | masks.prefix(77))
    assert not found and known.skipped > 0.9


@pytest.mark.slow
def test_what_a_function_captures_may_change():
    """Closures, global numbers and NumPy arrays are read at every call."""
    box, table = {"slope": 1.0}, np.array([1.0, 2.0], np.float32)

    def change(s, b, h, i, j):
        return s - box["slope"] * jnp.asarray(table)[h] * jnp.abs(i - j).astype(s.dtype)

    def expected():
        own, factors = box["slope"], jnp.array(table)
        plainly = lambda s, b, h, i, j: s - own * factors[h] * jnp.abs(i - j).astype(s.dtype)  # noqa: E731
        return jax.jit(lambda x: attention(x, x, x, score_mod=plainly))(X)

    for _ in range(2):
        np.testing.assert_allclose(attention(X, X, X, score_mod=change), expected(), 1e-5, 1e-6)
        box["slope"] += 1
        np.testing.assert_allclose(attention(X, X, X, score_mod=change), expected(), 1e-5, 1e-6)
        table *= 3


@pytest.mark.slow
def test_other_numbers_of_the_same_shape_share_a_program():
    run = lambda n: attention(X, X, X, mask=masks.lengths(jnp.array(n)))  # noqa: E731
    one = run([4, 7])
    with compiles() as found:
        two = run([5, 6])
    assert not found and not np.allclose(one, two)
    short = attention(X[1:], X[1:, :6], X[1:, :6])
    np.testing.assert_allclose(two[1:], short, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_every_position_of_a_decoder_shares_a_program():
    step = lambda n: attention(X[:, n : n + 1], X, X, mask=masks.causal, query_offset=n)  # noqa: E731
    whole = attention(X, X, X, mask=masks.causal)
    steps = [step(n) for n in (1, 2)]
    with compiles() as found:
        steps.append(attention(X[:, 3:4], X, X, mask=masks.causal, query_offset=3))
    assert len(found) <= 1  # the slice
    np.testing.assert_allclose(jnp.concatenate(steps, 1), whole[:, 1:4], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_functions_and_arrays_of_past_calls_are_let_go():
    change = by_table(jnp.arange(2.0) + 1)
    alive = weakref.ref(change), weakref.ref(change.__closure__[0].cell_contents)
    attention(X, X, X, score_mod=change)
    del change
    gc.collect()
    assert [x() for x in alive] == [None, None]


def test_the_caches_are_bounded(monkeypatch):
    kept = prepared.Kept(2)
    for n in range(4):
        kept.put(n, str(n))
    assert [kept.get(n) for n in range(4)] == [None, None, "2", "3"]
    kept.get(2)
    kept.put(5, "5")
    assert kept.get(3) is None and kept.get(2) == "2"


@pytest.mark.slow
def test_no_traced_array_stays_behind():
    @jax.jit
    def trace(x, w, n):
        mask = masks.lengths(n) & masks.causal
        return attention(x, x, x, score=scores.general(w), mask=mask)

    with jax.checking_leaks():
        one = trace(X, jnp.array(W), jnp.array([4, 7]))
        two = jax.grad(lambda w: trace(X, w, jnp.array([4, 7])).sum())(jnp.array(W))
    assert np.isfinite(one).all() and np.isfinite(two).all()


def test_a_deleted_array_of_an_equal_call_is_not_used():
    lengths = jnp.array([4, 6])
    first = attention(X, X, X, mask=masks.lengths(lengths))
    lengths.delete()
    np.testing.assert_array_equal(attention(X, X, X, mask=masks.lengths(jnp.array([4, 6]))), first)


def test_inside_a_program_nothing_of_it_is_left():
    """Its operations stand in the program of the caller."""
    program = jax.make_jaxpr(lambda x: attention(x, x, x, mask=masks.causal) + attention(x, x, x))(
        X
    )
    assert "dot_general" in str(program) and "jit[name=attention" not in str(program)


@pytest.mark.slow
def test_layers_that_are_alike_are_traced_once(monkeypatch):
    folded, fold = [], tiles.fold
    monkeypatch.setattr(tiles, "fold", lambda *x: folded.append(x) or fold(*x))
    x = jnp.ones((1, 13, 2, 6))

    def traced(layers, window):
        def loss(x):
            for _ in range(layers):
                x = attention(x, x, x, mask=masks.causal & masks.sliding_window(window))
            return x.sum()

        folded.clear()
        jax.jit(jax.value_and_grad(loss)).trace(x)
        return len(folded)

    # Queries, keys and values of one layer, once for its value and once for its derivative.
    assert traced(4, window=5) == traced(1, window=6) == 6
