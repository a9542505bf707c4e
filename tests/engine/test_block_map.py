"""Which tiles are left, against the mask at every pair."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from attention_jax.core import masks
from attention_jax.engine import block_map, block_search
from attention_jax.engine.block_map import EMPTY, FULL, PARTIAL, Shape, Sizes, TracedMask

DRAW = np.random.default_rng(0)
VISIBLE = DRAW.random((2, 4, 13, 11)) < 0.5
VISIBLE[1, :, 3:9, 2:7], VISIBLE[:, 2, :6] = True, False
QUERY_IDS, KEY_IDS = np.sort(DRAW.integers(0, 4, (2, 13))), np.sort(DRAW.integers(0, 4, (2, 11)))
# Each mask, and its rule for whole numbers.
RULES = {
    "full": (masks.full, lambda b, h, i, j: True),
    "nothing": (~masks.full, lambda b, h, i, j: False),
    "causal": (masks.causal, lambda b, h, i, j: j <= i),
    "future": (~masks.causal, lambda b, h, i, j: j > i),
    "window": (masks.sliding_window(3), lambda b, h, i, j: abs(i - j) < 3),
    "prefix": (masks.causal | masks.prefix(5), lambda b, h, i, j: j <= i or j < 5),
    "lengths": (masks.lengths(jnp.array([4, 0])), lambda b, h, i, j: j < (4, 0)[b]),
    "documents": (
        masks.documents(jnp.asarray(QUERY_IDS), jnp.asarray(KEY_IDS)),
        lambda b, h, i, j: i < 13 and j < 11 and QUERY_IDS[b, i] == KEY_IDS[b, j],
    ),
    "array": (
        masks.from_array(jnp.asarray(VISIBLE)),
        lambda b, h, i, j: i < 13 and j < 11 and VISIBLE[b, h, i, j],
    ),
    "by head": (lambda b, h, i, j: abs(i - j) < 2 * h, lambda b, h, i, j: abs(i - j) < 2 * h),
    "by both": (
        lambda b, h, i, j: (h + b) % 2 * i >= j,
        lambda b, h, i, j: (h + b) % 2 * i >= j,
    ),
    "dilated": (lambda b, h, i, j: (i - j) % 2 == 0, lambda b, h, i, j: (i - j) % 2 == 0),
}
SHAPE = Shape(b=2, g=2, r=2, t=13, s=11)


def map_of(conjuncts, *arguments):
    return block_map.block_map([TracedMask.of(mask) for mask in conjuncts], *arguments)


def pairs(rule, shape, offsets):
    """The rule at every pair, [b h t s]."""
    b, g, r, t, s = shape
    seen = [rule(b, h, i + offsets[0], j + offsets[1]) for b, h, i, j in np.ndindex(b, g * r, t, s)]
    return np.array(seen, bool).reshape(b, g * r, t, s)


def kinds_of(seen, shape, sizes):
    """Empty, partial or full, one tile after another: [heads, queries, keys]."""
    b, g, r, t, s = shape
    rows = seen.reshape(b * g, r, t, s)
    counts = [-(-n // size) for n, size in zip((b * g, t, s), sizes, strict=True)]
    kinds = np.zeros(counts, int)
    for c, i, j in np.ndindex(*counts):
        heads, queries, keys = (
            slice(n * size, (n + 1) * size) for n, size in zip((c, i, j), sizes, strict=True)
        )
        tile = rows[heads, :, queries, keys]
        whole = tile.size == sizes.heads * r * sizes.queries * sizes.keys  # else it holds padding
        kinds[c, i, j] = EMPTY if not tile.any() else FULL if tile.all() and whole else PARTIAL
    return kinds


def as_kinds(found):
    """The lists of a map, as an array."""
    kinds = np.full(found.counts, EMPTY)
    for kind, places in ((PARTIAL, found.partial), (FULL, found.full)):
        assert places.dtype == np.int32 and len(np.unique(places, axis=0)) == len(places)
        kinds[tuple(places.T)] = kind
    assert found.skipped == pytest.approx((kinds == EMPTY).mean())
    return kinds


SIZES = [Sizes(1, 4, 4), Sizes(2, 5, 3), Sizes(4, 13, 11), Sizes(1, 1, 1), Sizes(2, 7, 6)]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", RULES)
def test_each_tile_is_what_the_mask_says_of_its_pairs(name, sizes):
    mask, rule = RULES[name]
    for offsets in ((0, 0), (3, 1)):
        found = map_of((mask,), SHAPE, sizes, offsets)
        np.testing.assert_array_equal(
            as_kinds(found), kinds_of(pairs(rule, SHAPE, offsets), SHAPE, sizes)
        )


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True, phases=[Phase.generate])
@given(
    names=st.lists(st.sampled_from(sorted(RULES)), min_size=0, max_size=3),
    lengths=st.tuples(st.integers(1, 13), st.integers(1, 11)),
    sizes=st.tuples(st.sampled_from([1, 2, 4]), st.integers(1, 13), st.integers(1, 11)),
)
def test_conjuncts_empty_tiles_each_by_itself(names, lengths, sizes):
    shape, sizes = SHAPE._replace(t=lengths[0], s=lengths[1]), Sizes(*sizes)
    seen = [pairs(RULES[name][1], shape, (0, 0)) for name in (*names, "full")]
    found = map_of([RULES[name][0] for name in names], shape, sizes, (0, 0))
    kinds = as_kinds(found)
    expected = np.min([kinds_of(x, shape, sizes) for x in seen], axis=0)
    np.testing.assert_array_equal(kinds, expected)
    # So nothing that is visible is lost, and nothing that is hidden is taken for full.
    exact = kinds_of(np.logical_and.reduce(seen), shape, sizes)
    assert (exact[kinds == EMPTY] == EMPTY).all() and ((kinds == FULL) == (exact == FULL)).all()


@pytest.mark.parametrize("name", ["lengths", "array"])
def test_traced_data_leaves_partial_what_the_rest_does_not_empty(name):
    sizes, found = Sizes(1, 4, 4), {}

    @jax.jit
    def trace(lengths, visible):
        unknown = {"lengths": masks.lengths, "array": masks.from_array}[name]
        unknown = unknown(lengths if name == "lengths" else visible)
        assert not TracedMask.of(unknown).is_known((0, 0))
        assert TracedMask.of(masks.causal).is_known((0, 0))
        mask = masks.causal & unknown & masks.sliding_window(3)
        found["map"] = map_of(masks.conjuncts(mask), SHAPE, sizes, (0, 0))
        return lengths

    trace(jnp.array([4, 0]), jnp.asarray(VISIBLE))
    near = pairs(lambda b, h, i, j: 0 <= i - j < 3, SHAPE, (0, 0))
    expected = np.where(kinds_of(near, SHAPE, sizes) == EMPTY, EMPTY, PARTIAL)
    np.testing.assert_array_equal(as_kinds(found["map"]), expected)


def test_a_traced_offset_leaves_all_partial_that_depends_on_it():
    found = {}

    @jax.jit
    def trace(offset):
        assert not TracedMask.of(masks.causal).is_known((offset, 0))
        found["map"] = map_of((masks.causal,), SHAPE, Sizes(4, 4, 4), (offset, 0))
        return offset

    trace(3)
    assert len(found["map"].full) == 0 and found["map"].skipped == 0


def test_masks_are_known_inside_transformations():
    """What they capture is known, though all around them is traced."""
    mask, expected = (
        RULES["documents"][0],
        map_of((RULES["documents"][0],), SHAPE, SIZES[0], (0, 0)),
    )

    def trace(x):
        found = map_of((mask,), SHAPE, SIZES[0], (0, 0))
        jax.tree.map(np.testing.assert_array_equal, found, expected)
        return x

    gradient = jax.grad(jax.checkpoint(trace))
    assert jax.jit(gradient)(1.0) == 1
    np.testing.assert_array_equal(jax.jit(jax.vmap(gradient))(jnp.ones(3)), np.ones(3))


def test_too_many_pairs_to_look_at_are_partial(monkeypatch):
    monkeypatch.setattr(block_map, "MOST_PAIRS", 13 * 11 - 1)
    found = map_of((lambda b, h, i, j: j <= i,), SHAPE, SIZES[0], (0, 0))
    assert len(found.partial) == np.prod(found.counts) and not found.is_exact
    assert map_of((masks.causal,), SHAPE, SIZES[0], (0, 0)).skipped > 0


LONG = {
    "causal": (masks.causal, lambda i, j: j <= i),
    "window": (masks.causal & masks.sliding_window(40), lambda i, j: (j <= i) & (abs(i - j) < 40)),
    "prefix": (masks.causal | masks.prefix(200), lambda i, j: (j <= i) | (j < 200)),
    "strided": (masks.strided(7), lambda i, j: (abs(i - j) < 7) | ((i - j) % 7 == 0)),
    "documents": (
        masks.documents(*[jnp.arange(1300)[None] // 90] * 2),
        lambda i, j: (i // 90 == j // 90) & (i < 1300) & (j < 1300),
    ),
    "user": (masks.causal & (lambda b, h, i, j: i + j > 9), lambda i, j: (j <= i) & (i + j > 9)),
}


@pytest.mark.parametrize("name", LONG)
def test_large_blocks_are_searched_from_the_top(name, monkeypatch):
    monkeypatch.setattr(block_search, "FIRST", 4)
    mask, rule = LONG[name]
    shape, sizes, (first_i, first_j) = Shape(1, 1, 1, 1201, 1099), Sizes(1, 13, 11), (60, 33)
    found = map_of(masks.conjuncts(mask), shape, sizes, (first_i, first_j))
    i, j = first_i + np.arange(1201)[:, None], first_j + np.arange(1099)[None]
    kinds = kinds_of(np.broadcast_to(rule(i, j), (1, 1, 1201, 1099)), shape, sizes)
    np.testing.assert_array_equal(as_kinds(found), kinds)
    assert found.is_exact


def test_too_many_partial_blocks_are_told_apart_no_further(monkeypatch):
    monkeypatch.setattr(block_search, "FIRST", 4)
    monkeypatch.setattr(block_search, "MOST", 1000)
    shape, sizes = Shape(1, 1, 1, 1200, 1200), Sizes(1, 10, 10)
    found = map_of((masks.strided(3),), shape, sizes, (0, 0))
    assert not found.is_exact and len(found.partial) == 120**2 and len(found.full_runs) == 0


def test_a_million_of_tokens_takes_a_moment_and_a_list_of_runs():
    shape, sizes = Shape(1, 8, 1, 2**20, 2**20), Sizes(8, 256, 256)
    count = 2**12
    band = masks.conjuncts(masks.causal & masks.sliding_window(256))
    conjuncts = [TracedMask.of(mask) for mask in band]
    start = time.perf_counter()
    found = block_map.block_map(conjuncts, shape, sizes, (0, 0))
    assert time.perf_counter() - start < 1
    assert found.skipped == 1 - (2 * count - 1) / count**2 and len(found.partial_runs) == count
    whole = map_of((masks.causal,), shape, sizes, (0, 0))
    assert whole.skipped == pytest.approx(0.5 * (1 - 1 / count))
    assert len(whole.partial_runs) == count and len(whole.full_runs) == count - 1
    assert int(whole.full_runs[:, 3].sum()) == count * (count - 1) // 2


def test_equal_requests_are_searched_once(monkeypatch):
    looked = []
    search = block_search.search
    monkeypatch.setattr(block_search, "search", lambda *x: looked.append(x) or search(*x))
    shape, sizes, ids = Shape(1, 1, 1, 77, 78), Sizes(1, 9, 9), [[0] * 40 + [1] * 38]
    makers = [
        lambda: (masks.causal, masks.sliding_window(5)),
        lambda: (masks.documents(jnp.array(ids), jnp.array(ids)),),
        lambda: (lambda b, h, i, j: i < j + len(ids),),
    ]
    for n, make in enumerate(makers, start=1):
        first, second = (map_of(make(), shape, sizes, (0, 0)) for _ in range(2))
        assert first is second and len(looked) == n
    map_of((masks.causal, masks.sliding_window(6)), shape, sizes, (0, 0))
    assert len(looked) == 4


@pytest.mark.slow
@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    shape=st.builds(
        Shape,
        b=st.integers(1, 9),
        g=st.integers(1, 9),
        r=st.integers(1, 9),
        t=st.integers(1, 9000),
        s=st.integers(1, 9000),
    ),
    most=st.none() | st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
)
def test_sizes_cover_the_request_with_little_padding(shape, most):
    heads, queries, keys = block_map.choose_sizes(shape, most)
    assert heads >= 1 and shape.b * shape.g % heads == 0
    for length, size, limit in ((shape.t, queries, 0), (shape.s, keys, 1)):
        assert 1 <= size <= length
        assert most is None or size <= most[limit]
        number = -(-length // size)
        assert number * size - length < number  # less than one position a block
    # A tile never grows beyond what one head needs at the least, or the room there is.
    least = shape.r * queries * keys
    assert heads == 1 or heads * least <= block_map.TILE


@pytest.mark.parametrize("t, s", [(1, 1), (1, 5000), (5000, 1)])
def test_one_query_or_one_key(t, s):
    heads, queries, keys = block_map.choose_sizes(Shape(2, 3, 4, t, s))
    assert 6 % heads == 0 and 1 <= queries <= t and 1 <= keys <= s


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    shape=st.builds(
        Shape,
        b=st.integers(1, 9),
        g=st.integers(1, 9),
        r=st.integers(1, 9),
        t=st.integers(1, 9000),
        s=st.integers(1, 9000),
    ),
    width=st.integers(1, 1000),
)
def test_scores_that_pass_through_a_vector_get_smaller_tiles(shape, width):
    heads, queries, keys = block_map.choose_sizes(shape, width=width)
    scores = heads * shape.r * queries * keys
    assert scores * width <= max(block_map.HELD, shape.r * keys * width)  # one query is the least
    assert scores <= block_map.TILE
