"""Functions of one pair, run on a tile, against numbers by hand and against each pair alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.engine import pallas_lowering
from attention_jax.engine.pallas_lowering import Machine, Refused, program

SCORES = jnp.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
ROWS = jnp.asarray([[0], [1]], jnp.int32)
KEYS = jnp.asarray([[0, 1, 2]], jnp.int32)
TABLE = jnp.asarray([[10.0, 20.0, 30.0], [40.0, 50.0, 60.0]])
EXAMPLES = [jax.ShapeDtypeStruct((), x) for x in (jnp.float32, jnp.int32, jnp.int32)]


def on_tile(function, i=ROWS, j=KEYS):
    """The function of a score and its place at all pairs of a tile; operands are arrays."""
    steps, operands = program(function, *EXAMPLES)

    def read(number, place, inside, fill):
        if inside is None:
            return operands[number][place]
        x = operands[number].at[place].get(mode="clip")
        return jnp.where(inside, x, jnp.asarray(fill, x.dtype))

    (tile,) = Machine(read).run(steps, SCORES, i, j)
    return tile


def test_arithmetic():
    tile = on_tile(lambda score, i, j: 2 * score + (i - j).astype(jnp.float32))
    np.testing.assert_array_equal(tile, [[2, 3, 4], [9, 10, 11]])


def test_what_differs_along_one_axis_stays_narrow():
    np.testing.assert_array_equal(on_tile(lambda score, i, j: i + 7), [[7], [8]])
    np.testing.assert_array_equal(on_tile(lambda score, i, j: jnp.int32(3)), 3)


@pytest.mark.slow
def test_a_look_up_reads_the_place_of_each_pair():
    np.testing.assert_array_equal(on_tile(lambda score, i, j: TABLE[i, j]), TABLE)
    np.testing.assert_array_equal(on_tile(lambda score, i, j: TABLE[1, j]), [[40, 50, 60]])
    np.testing.assert_array_equal(on_tile(lambda score, i, j: TABLE[i, -1]), [[30], [60]])


def test_what_needs_no_pair_is_computed_before():
    steps, operands = program(lambda score, i, j: score + jnp.log(TABLE * 2)[i, j], *EXAMPLES)
    assert not {"log", "mul"} & {step.primitive.name for step in steps.steps}
    np.testing.assert_allclose(operands, [np.log([20, 40, 60, 80, 100, 120])], rtol=1e-6)


def test_places_beyond_the_end_give_the_fill_value_or_the_last():
    beyond = jnp.asarray([[1, 2, 3]], jnp.int32)
    filled = on_tile(lambda score, i, j: TABLE[0].at[j].get(mode="fill", fill_value=-1), j=beyond)
    np.testing.assert_array_equal(filled, [[20, 30, -1]])
    unfilled = on_tile(lambda score, i, j: TABLE[0].at[j].get(mode="fill"), j=beyond)
    np.testing.assert_array_equal(unfilled, [[20, 30, np.nan]])
    last = on_tile(lambda score, i, j: TABLE[0].at[j].get(mode="clip"), j=beyond)
    np.testing.assert_array_equal(last, [[20, 30, 30]])


def test_truth_is_read_from_bytes():
    seen = jnp.asarray([True, False, True])
    assert program(lambda score, i, j: seen[j], *EXAMPLES)[1][0].dtype == jnp.int8
    tile = on_tile(lambda score, i, j: seen[j])
    assert tile.dtype == jnp.bool_
    np.testing.assert_array_equal(tile, [[True, False, True]])


FUNCTIONS = {
    "called": lambda score, i, j: jax.jit(jax.nn.relu)(score - 3) + jax.nn.gelu(score),
    "moved about": lambda score, i, j: (jnp.stack([score]).reshape(1, 1).mT * TABLE[:1, 1:2])[0, 0],
    "row of a row": lambda score, i, j: score * TABLE[i][j],
    "place looked up": lambda score, i, j: TABLE[i, jnp.asarray([2, 0, 1])[j]],
    "slope": lambda score, i, j: jax.grad(lambda x: jnp.tanh(x) * TABLE[i, j])(score),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_tile_is_its_pairs(name):
    one = lambda i, j: FUNCTIONS[name](SCORES[i, j], jnp.int32(i), jnp.int32(j))  # noqa: E731
    pairs = [[one(i, j) for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(on_tile(FUNCTIONS[name]), pairs, rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda score, i, j: jnp.sort(jnp.stack([score, -score]))[1], "uses `sort`"),
        (lambda score, i, j: jnp.ones((40, 40))[i] * 2, r"an array of shape \(40,\) for each"),
        (lambda score, i, j: TABLE[0][jnp.stack([i, j])][0], "looks up several places"),
        (
            lambda score, i, j: jax.random.bits(jax.random.split(jax.random.key(0), 3)[j]),
            "reads an array of key<fry>",
        ),
    ],
    ids=["sort", "whole rows", "two places", "keys"],
)
def test_what_has_no_form_on_tiles_is_refused(function, reason):
    with pytest.raises(Refused, match=reason):
        on_tile(function)


def test_a_score_mod_comes_with_its_slope():
    both = pallas_lowering.with_slope(
        lambda score, b, h, i, j: score * score + h.astype(jnp.float32)
    )
    value, slope = both(jnp.float32(3), *(jnp.int32(n) for n in (0, 1, 2, 3)))
    assert (float(value), float(slope)) == (10, 6)
