"""Problems of memory: against their definitions, read token by token, and their distributions."""

from functools import partial
from itertools import permutations

import numpy as np
import pytest

from attention_jax.data import memory_tasks
from attention_jax.data.batching import Batches, pipeline

PROBLEMS = {
    "associative": partial(
        memory_tasks.multi_query_associative_recall, length=32, pairs=4, vocabulary=64
    ),
    "copying": partial(memory_tasks.copying, length=25, symbols=5),
    "induction": partial(memory_tasks.induction, length=20),
    "permutations": partial(memory_tasks.permutations, length=9),
    "adding": partial(memory_tasks.adding, length=11),
}


@pytest.fixture
def draw():
    return np.random.default_rng(0)


def test_a_key_is_asked_for_once_and_its_value_wanted(draw):
    (tokens, targets, weights), distance = PROBLEMS["associative"](draw, 300)
    for row in range(300):
        pairs = dict(tokens[row, :8].reshape(4, 2))
        assert len(pairs) == 4 and all(1 <= key < 32 <= value < 64 for key, value in pairs.items())
        assert len(set(pairs.values())) == 4
        asked = np.flatnonzero(weights[row])
        assert sorted(tokens[row, asked]) == sorted(pairs) and not (asked % 2).any()
        for at in asked:
            assert targets[row, at] == pairs[tokens[row, at]]
            assert tokens[row, at - distance[row, at]] == tokens[row, at]
            assert at - distance[row, at] < 8
    # What is left may be any token.
    assert set(tokens[:, 9::2].ravel()) == set(range(64))


@pytest.mark.slow
def test_gaps_follow_the_power_law_without_replacement(draw):
    """The first key's gap is of the law itself; the last's of what the others left."""
    space, power = 12, 0.01
    tokens, _, weights = PROBLEMS["associative"](draw, 40_000).batch
    first = [
        np.flatnonzero((row == row[0]) & (weight > 0))[0]
        for row, weight in zip(tokens, weights, strict=True)
    ]
    found = np.bincount((np.array(first) - 8) // 2, minlength=space) / 40_000
    law = np.arange(1, space + 1) ** (power - 1)
    law /= law.sum()
    np.testing.assert_allclose(found, law, atol=4 * np.sqrt(law.max() / 40_000))
    # All four: as numpy's own choice without replacement.
    generator = np.random.default_rng(1)
    chosen = [generator.choice(space, 4, replace=False, p=law) for _ in range(10_000)]
    expected = np.bincount(np.ravel(chosen), minlength=space) / 10_000
    gaps = np.nonzero(weights)[1]
    shares = np.bincount((gaps - 8) // 2, minlength=space) / 40_000
    np.testing.assert_allclose(shares, expected, atol=0.025)


def test_what_is_copied_stood_at_the_beginning(draw):
    (tokens, targets, weights), distance = PROBLEMS["copying"](draw, 50)
    np.testing.assert_array_equal(targets[:, -5:], tokens[:, :5])
    np.testing.assert_array_equal(np.unique(tokens[:, :5]), np.arange(1, 9))
    assert (tokens[:, 19] == 9).all() and (np.delete(tokens[:, 5:], 14, axis=1) == 0).all()
    assert (weights[:, -5:] == 1).all() and weights.sum() == 250
    assert (distance[:, -5:] == 20).all()


def test_induction_asks_for_what_followed_the_mark(draw):
    (tokens, targets, weights), distance = PROBLEMS["induction"](draw, 500)
    for row in range(500):
        first, last = np.flatnonzero(tokens[row] == 15)[[0, -1]]
        assert last == 19 and weights[row].sum() == weights[row, 19] == 1
        assert targets[row, 19] == tokens[row, first + 1] and distance[row, 19] == 19 - first
    assert set(distance[:, 19]) == set(range(2, 20))


@pytest.mark.parametrize("items", [2, 3, 5])
def test_permutations_are_done_one_after_another(items, draw):
    (tokens, targets, weights), distance = memory_tasks.permutations(
        draw, 40, length=7, items=items
    )
    every = sorted(permutations(range(items)))
    assert (weights == 1).all() and (distance == np.arange(7)).all()
    for row, wanted in zip(tokens, targets, strict=True):
        now = list(range(items))
        for token, state in zip(row, wanted, strict=True):
            now = [now[place] for place in every[token]]
            assert tuple(now) == every[state]


@pytest.mark.parametrize(("moved", "count"), [(2, 1 + 10), (3, 1 + 10 + 20), (5, 120)])
def test_tokens_may_move_few_items(moved, count, draw):
    """Of 5 items there are 10 swaps and 20 cycles of three."""
    (tokens, targets, _), _ = memory_tasks.permutations(draw, 400, length=12, items=5, moved=moved)
    used, every = np.unique(tokens), sorted(permutations(range(5)))
    assert len(used) == count
    assert max(sum(i != x for i, x in enumerate(every[token])) for token in used) == moved
    assert len(np.unique(targets)) == 120


def test_two_items_are_parity(draw):
    (tokens, targets, _), _ = memory_tasks.permutations(draw, 40, length=7, items=2)
    np.testing.assert_array_equal(targets, tokens.cumsum(1) % 2)


def test_two_numbers_of_two_halves_are_added(draw):
    (vectors, targets, weights), distance = PROBLEMS["adding"](draw, 4000)
    marks = vectors[..., 1]
    assert (marks[:, :5].sum(1) == 1).all() and (marks[:, 5:].sum(1) == 1).all()
    np.testing.assert_allclose((vectors[..., 0] * marks).sum(1), targets, rtol=1e-5)
    np.testing.assert_array_equal(distance, 10 - marks.argmax(1))
    np.testing.assert_allclose(np.mean((targets - 1) ** 2), 1 / 6, rtol=0.1)
    assert weights.shape == (4000,)


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_a_batch_depends_on_seed_and_index_alone(problem):
    one, same, other = (memory_tasks.DrawnBatches(problem, rows=3, seed=seed) for seed in (1, 1, 2))
    assert isinstance(one, Batches)
    one[0]
    for a, b, c in zip(one[4], same[4], other[4], strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.shape == c.shape
    assert any((a != b).any() for a, b in zip(one[4], other[4], strict=True))
    np.testing.assert_array_equal(next(pipeline(one)).targets, one[0].targets)
    np.testing.assert_array_equal(next(one.epoch(2)).targets, one[200].targets)


def test_a_mixture_draws_each_of_its_problems():
    parts = [partial(memory_tasks.copying, length=n, symbols=2) for n in (6, 8)]
    batches = memory_tasks.DrawnBatches(memory_tasks.mixed(*parts), rows=2, seed=0)
    lengths = [batches[i].tokens.shape[1] for i in range(200)]
    assert set(lengths) == {6, 8} and 60 < lengths.count(6) < 140
    assert lengths == [batches[i].tokens.shape[1] for i in range(200)]
    assert memory_tasks.mixed(parts[0]) is parts[0]


@pytest.mark.parametrize(
    "problem",
    [
        partial(memory_tasks.multi_query_associative_recall, length=4, pairs=1, vocabulary=4),
        partial(memory_tasks.copying, length=11, symbols=5),
        partial(memory_tasks.induction, length=3),
        partial(memory_tasks.adding, length=2),
    ],
)
def test_the_shortest_is_drawn(problem, draw):
    batch, _ = problem(draw, 3)
    assert batch.weights.sum() > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            partial(memory_tasks.multi_query_associative_recall, length=15, pairs=2),
            "`length` must be even .* got 15. Use 16",
        ),
        (
            partial(memory_tasks.multi_query_associative_recall, length=16, pairs=5),
            "at most a quarter .* Use pairs=4",
        ),
        (
            partial(memory_tasks.multi_query_associative_recall, length=64, pairs=4, vocabulary=8),
            "4 keys and .* Use 10 or more",
        ),
        (partial(memory_tasks.copying, length=20), "more than twice the symbols; .* Use length=21"),
        (partial(memory_tasks.induction, length=2), "must be at least 3; got 2 and 16"),
        (partial(memory_tasks.adding, length=1), "`length` must be at least 2; got 1"),
    ],
)
def test_what_does_not_fit_is_refused(call, message, draw):
    with pytest.raises(ValueError, match=message):
        call(draw, 2)
