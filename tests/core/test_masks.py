import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import lookups, masks
from attention_jax.engine import reference


def table(mask, b=2, h=3, t=4, s=5, query_offset=0, key_offset=0):
    """The mask at all positions, [b h t s]."""
    at = (
        jnp.arange(b),
        jnp.arange(h),
        query_offset + jnp.arange(t),
        key_offset + jnp.arange(s),
    )
    return np.broadcast_to(jax.jit(lambda: reference.visible_pairs(mask, at))(), (b, h, t, s))


def grid(rule, b=2, h=3, t=4, s=5):
    """`rule(b, h, i, j)` in a Python loop."""
    return np.array([rule(*at) for at in np.ndindex(b, h, t, s)]).reshape(b, h, t, s)


PADDING = [[True, False, True, True, False], [False, True, True, True, True]]
QUERY_IDS, KEY_IDS = [[0, 0, 1, 1], [2, 2, 2, 3]], [[0, 0, 1, 1, 1], [2, 3, 2, 3, 0]]
EACH_HEAD = np.random.default_rng(0).random((1, 3, 4, 5)) < 0.5
RULES = {
    "full": (masks.full, lambda b, h, i, j: True),
    "causal": (masks.causal, lambda b, h, i, j: j <= i),
    "window": (masks.sliding_window(2), lambda b, h, i, j: abs(i - j) < 2),
    "dilated window": (
        masks.sliding_window(2, dilation=2),
        lambda b, h, i, j: i - j in (-2, 0, 2),
    ),
    "window of three": (
        masks.sliding_window(2, dilation=3),
        lambda b, h, i, j: i - j in (-3, 0, 3),
    ),
    "strided by three": (
        masks.strided(3),
        lambda b, h, i, j: abs(i - j) < 3 or i - j in (-3, 3),
    ),
    "strided": (masks.strided(2), lambda b, h, i, j: abs(i - j) == 1 or i % 2 == j % 2),
    "chunks": (masks.chunks(3), lambda b, h, i, j: (i < 3) == (j < 3)),
    "summaries": (masks.summaries(3, 2), lambda b, h, i, j: j in (1, 2, 4)),
    "global": (masks.global_tokens(2), lambda b, h, i, j: i < 2 or j < 2),
    "axial": (
        masks.axial(3),
        lambda b, h, i, j: divmod(i, 3)[0] == divmod(j, 3)[0] or divmod(i, 3)[1] == divmod(j, 3)[1],
    ),
    "row": (masks.axial(3, along="row"), lambda b, h, i, j: (i < 3) == (j < 3)),
    "column": (masks.axial(3, along="column"), lambda b, h, i, j: abs(i - j) in (0, 3)),
    "prefix": (masks.prefix(2), lambda b, h, i, j: j < 2),
    "lengths": (masks.lengths(jnp.array([2, 5])), lambda b, h, i, j: j < (2, 5)[b]),
    "keys": (masks.keys(jnp.array(PADDING)), lambda b, h, i, j: PADDING[b][j]),
    "documents": (
        masks.documents(jnp.array(QUERY_IDS), jnp.array(KEY_IDS)),
        lambda b, h, i, j: QUERY_IDS[b][i] == KEY_IDS[b][j],
    ),
    "array": (
        masks.from_array(jnp.asarray(EACH_HEAD)),
        lambda b, h, i, j: EACH_HEAD[0, h, i, j],
    ),
    "and": (
        masks.causal & masks.sliding_window(2),
        lambda b, h, i, j: j <= i and abs(i - j) < 2,
    ),
    "or": (masks.causal | masks.prefix(3), lambda b, h, i, j: j <= i or j < 3),
    "not": (~masks.causal, lambda b, h, i, j: j > i),
    "plain right": (masks.causal & (lambda b, h, i, j: j != 0), lambda b, h, i, j: 0 < j <= i),
    "plain left": ((lambda b, h, i, j: h == 1) | masks.causal, lambda b, h, i, j: h == 1 or j <= i),
    "both": (
        masks.both(lambda b, h, i, j: j != 0, masks.causal),
        lambda b, h, i, j: 0 < j <= i,
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_each_is_its_rule(name):
    mask, rule = RULES[name]
    np.testing.assert_array_equal(table(mask), grid(rule))


@pytest.mark.parametrize("name", RULES)
def test_offsets_cut_a_piece_out(name):
    mask, rule = RULES[name]
    piece = table(mask, t=2, s=2, query_offset=2, key_offset=3)
    np.testing.assert_array_equal(piece, grid(rule)[:, :, 2:4, 3:5])


@pytest.mark.parametrize("height, width, size", [(4, 5, 3), (3, 3, 1), (2, 6, 5), (1, 4, 3)])
def test_a_neighborhood_is_a_window_moved_inside_the_grid(height, width, size):
    mask = masks.neighborhood(size, height=height, width=width)
    count = height * width
    got = table(mask, b=1, h=1, t=count, s=count)[0, 0].reshape(height, width, height, width)
    for row, column in np.ndindex(height, width):
        # As in the paper: the nearest keys along each axis, however close the border is.
        rows = sorted(range(height), key=lambda n: (abs(n - row), n))[:size]
        columns = sorted(range(width), key=lambda n: (abs(n - column), n))[:size]
        expected = np.zeros((height, width), bool)
        expected[np.ix_(rows, columns)] = True
        np.testing.assert_array_equal(got[row, column], expected)


def test_beyond_its_grid_a_neighborhood_shows_nothing():
    mask = masks.neighborhood(3, height=2, width=2)
    assert not table(mask, query_offset=4).any() and not table(mask, key_offset=4).any()


def test_none_shows_everything():
    assert masks.both(None, None) is None
    assert masks.both(None, masks.causal) is masks.causal
    assert masks.both(masks.causal, None) is masks.causal


@pytest.mark.parametrize("name", ["keys", "documents", "array"])
def test_positions_beyond_an_array_are_hidden(name):
    assert not table(RULES[name][0], key_offset=5).any()


def test_masks_work_on_traced_arrays():
    run = jax.jit(lambda n: reference.visible_pairs(masks.lengths(n), (jnp.arange(2),) * 4))
    np.testing.assert_array_equal(
        run(jnp.array([0, 1]))[:, 0, 0], np.array([[False, False], [True, False]])
    )


def test_wrong_arguments_are_refused(users_errors):
    with pytest.raises(ValueError, match="at least 1 position; got 0"):
        masks.sliding_window(0)
    with pytest.raises(ValueError, match="`dilation` must be a whole number of at least 1; got 0"):
        masks.sliding_window(2, dilation=0)
    with pytest.raises(ValueError, match="`count` must be at most `stride`; got count=3, stride=2"):
        masks.summaries(2, 3)
    with pytest.raises(ValueError, match="`size` must be odd.*; got 4. The nearest below is 3"):
        masks.neighborhood(4, height=8, width=8)
    with pytest.raises(ValueError, match="`along` must be one of 'row', 'column', 'both'"):
        masks.axial(3, along="rows")
    for mask in (masks.strided, masks.chunks, masks.global_tokens, masks.axial):
        with pytest.raises(ValueError, match="must be a whole number of at least 1; got 0"):
            mask(0)
    with pytest.raises(ValueError, match="`visible` must be boolean, .* got int32. Convert"):
        masks.keys(jnp.ones((2, 3), jnp.int32))
    with pytest.raises(ValueError, match=r"`visible` must have shape \[b h t s\].* length 1"):
        masks.from_array(jnp.ones((2, 3), bool))
    with pytest.raises(ValueError, match=r"`key_lengths` must have shape \[b\]"):
        masks.lengths(jnp.ones((2, 3), jnp.int32))


@pytest.mark.slow
def test_they_take_plain_numbers_too():
    for mask, rule in RULES.values():
        assert bool(mask(0, 1, 2, 1)) == rule(0, 1, 2, 1)


def test_both_keeps_the_parts_of_which_a_pair_needs_all():
    own = masks.causal & masks.sliding_window(3)
    assert masks.conjuncts(masks.both(own, masks.full)) == (*masks.conjuncts(own), masks.full)
    assert masks.conjuncts(masks.both(masks.causal, masks.full))[0] is masks.causal
    assert masks.both(None, own) is own and masks.both(own, None) is own


def sizes(b=2, t=4, h=3, s=5):
    """A query and a key of a call with these sizes."""
    return (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((b, t, h, 8), (b, s, 3, 8)))


ARRAYS = {
    "lengths": (masks.lengths, ((2,),)),
    "keys": (lambda x: masks.keys(x > 0), ((2, 5),)),
    "documents": (masks.documents, ((2, 4), (2, 5))),
    "array": (lambda x: masks.from_array(x > 0), ((2, 3, 4, 5),)),
}
LETTERS = {"lengths": ["b"], "keys": ["bs"], "documents": ["bt", "bs"], "array": ["bhts"]}
AXES = [
    (name, place, axis)
    for name, letters in LETTERS.items()
    for place, axes in enumerate(letters)
    for axis in range(len(axes))
]


def changed(name, place, axis, size):
    """The mask with one axis of one of its arrays of another size."""
    make, shapes = ARRAYS[name]
    shapes = [list(shape) for shape in shapes]
    shapes[place][axis] = size
    return make(*(np.arange(np.prod(shape), dtype=np.int32).reshape(shape) % 3 for shape in shapes))


@pytest.mark.parametrize(("name", "place", "axis"), AXES)
def test_an_array_must_fit_the_call_or_have_length_one(name, place, axis, users_errors):
    query, key = sizes()
    letter = LETTERS[name][place][axis]
    right = ARRAYS[name][1][place][axis]
    combine = (lambda x: x, lambda x: masks.causal & x, lambda x: x | masks.causal, lambda x: ~x)
    for change in combine:
        lookups.check("mask", change(changed(name, place, axis, right)), query, key)
        lookups.check("mask", change(changed(name, place, axis, 1)), query, key)
        shape = list(ARRAYS[name][1][place])
        for wrong in (right - 1, right + 1) if letter in "bh" else (right - 1,):
            if wrong == 1:
                continue
            shape[axis] = wrong
            got, query_shape = map(re.escape, (str(tuple(shape)), str(query.shape)))
            with pytest.raises(
                ValueError, match=f"of `mask` .*got {got}, for a query {query_shape}"
            ):
                lookups.check("mask", change(changed(name, place, axis, wrong)), query, key)


@pytest.mark.parametrize(("name", "place", "axis"), AXES)
def test_an_axis_of_length_one_stands_for_all(name, place, axis):
    one = changed(name, place, axis, 1)
    make, shapes = ARRAYS[name]
    arrays = [np.arange(np.prod(n), dtype=np.int32).reshape(n) % 3 for n in shapes]
    small = list(shapes[place])
    small[axis] = 1
    arrays[place] = np.arange(np.prod(small), dtype=np.int32).reshape(small) % 3
    arrays[place] = np.broadcast_to(arrays[place], shapes[place])
    np.testing.assert_array_equal(table(one), table(make(*arrays)))


def test_beyond_an_offset_an_array_is_longer():
    query, key = sizes()
    mask = masks.keys(jnp.ones((2, 8), bool))
    lookups.check("mask", mask, query, key)
    lookups.check("mask", mask, query, key, 0, 3)
    with pytest.raises(
        ValueError, match=r"got \(2, 8\), .* Axis s must be 9 from position 4, or 1"
    ):
        lookups.check("mask", mask, query, key, 0, 4)
    # Only the run knows a traced one.
    jax.make_jaxpr(lambda n: lookups.check("mask", mask, query, key, 0, n))(9)


@pytest.mark.parametrize("name", ["lengths", "keys", "documents", "array"])
def test_positions_before_the_first_are_hidden(name):
    mask, rule = RULES[name]
    got = table(mask, query_offset=-2, key_offset=-2)
    expected = np.zeros_like(got)
    expected[:, :, :, 2:] = grid(rule)[:, :, :, :3]
    if name in ("documents", "array"):
        expected[:, :, 2:] = expected[:, :, :2]
        expected[:, :, :2] = False
    np.testing.assert_array_equal(got, expected)


def test_a_mask_has_no_truth_value():
    for use in (bool, lambda x: x and masks.full, lambda x: x or masks.full, lambda x: not x):
        with pytest.raises(TypeError, match="Combine masks by `&`, `|` and `~`"):
            use(masks.causal)


@pytest.mark.parametrize("other", [3, None, True, "causal", np.ones(2, bool), jnp.ones(2, bool)])
def test_only_functions_combine(other, users_errors):
    joins = (lambda x, y: x & y, lambda x, y: y & x, lambda x, y: x | y, lambda x, y: y | x)
    for join in joins:
        with pytest.raises(ValueError, match="must be a function of .b, h, i, j.; got"):
            join(masks.causal, other)


def test_a_mask_that_is_not_made_yet_is_refused():
    with pytest.raises(ValueError, match=r"Call it first: `masks.sliding_window\(...\)`"):
        masks.causal & masks.sliding_window
    with pytest.raises(TypeError, match="without parentheses: `mask=masks.causal`"):
        masks.causal()
    with pytest.raises(ValueError, match=r"called with \(b, h, i, j\); got <lambda>\(i, j\)"):
        masks.causal | (lambda i, j: j == 0)


@pytest.mark.parametrize("size", [2.5, True, "3", None, 2**31])
def test_sizes_are_whole_numbers_of_32_bits(size, users_errors):
    for make in (masks.sliding_window, masks.strided, masks.chunks, masks.global_tokens):
        with pytest.raises(ValueError, match="`(size|stride|count)` must be .*; got"):
            make(size)
    with pytest.raises(ValueError, match="`dilation` must be"):
        masks.sliding_window(2, dilation=size)
    if size not in (True, 2**31):
        with pytest.raises(ValueError, match="`length` must be one whole number; got"):
            masks.prefix(size)


@pytest.mark.slow
def test_numpy_arrays_are_taken(users_errors):
    made = {
        "lengths": masks.lengths(np.array([2, 5])),
        "keys": masks.keys(np.array(PADDING)),
        "documents": masks.documents(np.array(QUERY_IDS), np.array(KEY_IDS)),
        "array": masks.from_array(EACH_HEAD),
        "prefix": masks.prefix(np.int32(2)),
    }
    for name, mask in made.items():
        np.testing.assert_array_equal(table(mask), grid(RULES[name][1]))
    seen = np.array([True, False, True, True, False])
    joined = masks.causal & (lambda b, h, i, j: seen[j])
    np.testing.assert_array_equal(table(joined), grid(lambda b, h, i, j: j <= i and seen[j]))
