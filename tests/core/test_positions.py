import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import positions


@pytest.mark.slow
def test_sinusoidal_is_section_3_5():
    got = positions.sinusoidal(7, 6)
    for p, c in np.ndindex(7, 3):
        angle = p / 10_000 ** (2 * c / 6)
        np.testing.assert_allclose(got[p, 2 * c], np.sin(angle), atol=1e-6)
        np.testing.assert_allclose(got[p, 2 * c + 1], np.cos(angle), atol=1e-6)
    np.testing.assert_array_equal(
        positions.sinusoidal(jnp.array([4, 2]), 6), got[jnp.array([4, 2])]
    )


@pytest.mark.slow
def test_rope_is_a_product_with_rotation_matrices(draw):
    x = draw(2, 5, 3, 4)
    got = positions.rope(x, jnp.arange(5) + 2)
    for b, t, h in np.ndindex(2, 5, 3):
        turn = np.zeros((4, 4))
        for c in range(2):
            angle = (t + 2) / 10_000 ** (2 * c / 4)
            turn[2 * c : 2 * c + 2, 2 * c : 2 * c + 2] = [
                [np.cos(angle), -np.sin(angle)],
                [np.sin(angle), np.cos(angle)],
            ]
        np.testing.assert_allclose(got[b, t, h], turn @ np.asarray(x[b, t, h]), atol=1e-6)


@pytest.mark.slow
def test_rope_takes_positions_of_each_sequence_and_keeps_the_dtype(draw):
    x = draw(2, 5, 3, 4)
    at = jnp.array([[0, 1, 2, 3, 4], [7, 8, 9, 10, 11]])
    got = positions.rope(x, at)
    for b in range(2):
        expected = positions.rope(x[b : b + 1], at[b])
        np.testing.assert_allclose(got[b : b + 1], expected, atol=1e-6)
    assert positions.rope(x.astype(jnp.bfloat16), at).dtype == jnp.bfloat16


def test_rope_of_64_bits_is_computed_in_them():
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 1, 2)))
        got = np.asarray(positions.rope(x, jnp.arange(3)))[0, :, 0]
    first, second = np.asarray(x)[0, :, 0].T
    # Angles are of 32 bits; those of 0, 1 and 2 radians have no rounding.
    sin, cos = (f(np.arange(3, dtype=np.float32)).astype(np.float64) for f in (np.sin, np.cos))
    expected = np.stack([first * cos - second * sin, second * cos + first * sin], axis=-1)
    np.testing.assert_allclose(got, expected, rtol=0, atol=3e-7)
    np.testing.assert_array_equal(got[0], [first[0], second[0]])  # not rounded to 32 bits


@pytest.mark.slow
def test_rope_makes_scores_of_distances(draw):
    q, k = draw(1, 1, 1, 8), draw(1, 1, 1, 8)

    def score(i, j):
        turned = positions.rope(q, jnp.array([i])) * positions.rope(k, jnp.array([j]))
        return turned.sum()

    np.testing.assert_allclose(score(3, 1), score(12, 10), rtol=1e-4)


def test_alibi_slopes_are_the_papers():
    np.testing.assert_allclose(positions.alibi_slopes(8), [2.0**-n for n in range(1, 9)])
    # Section 3: "for 12 heads" the authors' code completes those of 8 with those of 16.
    np.testing.assert_allclose(
        positions.alibi_slopes(12),
        [2.0**-n for n in range(1, 9)] + [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5],
    )


def test_alibi_lowers_by_distance():
    lower = positions.alibi(heads=8)
    assert float(lower(0.0, b=0, h=0, i=0, j=1)) == -0.5
    assert float(lower(jnp.float32(1), b=0, h=1, i=5, j=3)) == 0.5


def t5_code(distance, bidirectional, buckets, max_distance):
    """mesh_tensorflow's _relative_position_bucket, in float64."""
    bucket, n = 0, -distance
    if bidirectional:
        buckets //= 2
        bucket += (n < 0) * buckets
        n = abs(n)
    else:
        n = max(n, 0)
    near = buckets // 2
    if n < near:
        return bucket + n
    far = near + int(np.log(n / near) / np.log(max_distance / near) * (buckets - near) + 1e-9)
    return bucket + min(far, buckets - 1)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (8, 20), (6, 9)])
def test_t5_buckets_are_those_of_the_authors_code(bidirectional, buckets, max_distance):
    distances = np.arange(-200, 201)
    got = positions.t5_bucket(
        jnp.asarray(distances),
        buckets=buckets,
        max_distance=max_distance,
        bidirectional=bidirectional,
    )
    expected = [t5_code(int(n), bidirectional, buckets, max_distance) for n in distances]
    np.testing.assert_array_equal(got, expected)


@pytest.mark.slow
def test_t5_bias_adds_what_the_table_says(draw):
    table = draw(32, 4)
    add = positions.t5_bias(table)
    at = (jnp.int32(n) for n in (0, 2, 3, 9))
    bucket = t5_code(6, True, 32, 128)
    np.testing.assert_allclose(add(jnp.float32(1), *at), 1 + table[bucket, 2], rtol=1e-6)
    gradient = jax.grad(lambda x: positions.t5_bias(x)(jnp.float32(1), 0, 2, 3, 9))(table)
    assert gradient[bucket, 2] == 1 and gradient.sum() == 1


@pytest.mark.parametrize("columns", [5, 6])
def test_by_distance_reads_the_row_of_one_side_and_the_column_of_the_distance(draw, columns):
    table = draw(2, 4, 3, columns)

    def read(b, row, h, distance):
        return table[b, row, h, min(max(distance + columns // 2, 0), columns - 1)]

    queries = jax.jit(positions.by_distance(table, rows="queries", offset=7))
    keys = jax.jit(positions.by_distance(table, rows="keys", offset=jnp.int32(2)))
    for i, j in ((7, 7), (8, 2), (9, 10), (10, 11), (10, 30)):
        at = (jnp.int32(n) for n in (1, 2, i, j))
        expected = 1 + read(1, i - 7, 2, i - j)
        np.testing.assert_allclose(queries(jnp.float32(1), *at), expected, rtol=1e-6)
    for i, j in ((2, 2), (5, 2), (3, 4), (30, 5), (0, 5)):
        at = (jnp.int32(n) for n in (0, 1, i, j))
        expected = 1 + read(0, j - 2, 1, j - i)
        np.testing.assert_allclose(keys(jnp.float32(1), *at), expected, rtol=1e-6)


def test_learned_positions_are_rows_and_nan_where_a_run_finds_none(draw):
    table = draw(6, 2, 3)
    np.testing.assert_array_equal(positions.learned(table, 4, offset=2), table[2:])
    rows = jax.jit(lambda offset: positions.learned(table, 4, offset=offset))
    np.testing.assert_array_equal(rows(jnp.int32(1)), table[1:5])
    for first, missing in ((4, [2, 3]), (-1, [0])):
        absent = np.isnan(rows(jnp.int32(first))).all((1, 2))
        np.testing.assert_array_equal(np.flatnonzero(absent), missing)


def test_wrong_arguments_are_refused(users_errors):
    with pytest.raises(ValueError, match="`width` must be even, .* got 5. The nearest above is 6"):
        positions.sinusoidal(3, 5)
    with pytest.raises(ValueError, match="`heads` must be a whole number of at least 1; got 0"):
        positions.alibi(heads=0)
    with pytest.raises(ValueError, match="`buckets` must be at least 4 and `max_distance` above"):
        positions.t5_bucket(jnp.int32(1), buckets=2)
    with pytest.raises(ValueError, match="Learned positions go from 0 to 5; got 4 from 3"):
        positions.learned(jnp.ones((6, 2)), 4, offset=3)
    with pytest.raises(ValueError, match="`offset` must be one whole number"):
        positions.learned(jnp.ones((6, 2)), 4, offset=1.0)
    with pytest.raises(ValueError, match=r"`table` must have shape \[b n h r\]"):
        positions.by_distance(jnp.ones((4, 3, 5)), rows="keys")
    with pytest.raises(ValueError, match="`rows` must be one of 'queries', 'keys'; got 'both'"):
        positions.by_distance(jnp.ones((1, 4, 3, 5)), rows="both")
