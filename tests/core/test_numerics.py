"""Dropout's hash against whole numbers of Python, and its bits against a fair coin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import numerics

LIMIT = 2**32


def triple32(x, seed):
    """The hash `triple32` of hash-prospector, under two words of a seed."""
    x ^= seed[0]
    x = (x ^ x >> 17) * 0xED5AD4BB % LIMIT
    x = ((x ^ x >> 11) + seed[1]) * 0xAC4C1B51 % LIMIT
    x = (x ^ x >> 15) * 0x31848BAB % LIMIT
    return x ^ x >> 14


def below(seed, place):
    first = triple32(place, seed)
    return first, triple32(first, seed[::-1])


def seed_of(key):
    return tuple(map(int, jax.random.bits(key, (2,), jnp.uint32)))


def test_a_pair_is_kept_by_the_hash_of_its_place():
    key, rate = jax.random.key(7), 0.3
    at = jnp.arange(2), jnp.arange(3), 5 + jnp.arange(4), jnp.arange(6) - 1
    got = numerics.kept_pairs(key, rate, jnp.ix_(*at))
    for n in np.ndindex(2, 3, 4, 6):
        *rows, j = (int(x[place]) % LIMIT for x, place in zip(at, n, strict=True))
        seed = seed_of(key)
        for place in rows:
            seed = below(seed, place)
        assert got[n] == (triple32(j, seed) >= round(rate * LIMIT))


def test_an_entry_is_kept_by_the_hash_of_its_row_and_column():
    key, rate = jax.random.key(3), 0.5
    got = np.asarray(numerics.kept_entries(key, rate, (2, 3, 5))).reshape(6, 5)
    for row, column in np.ndindex(6, 5):
        word = triple32(column, below(seed_of(key), row))
        assert got[row, column] == (word >= round(rate * LIMIT))
    assert numerics.kept_entries(key, rate, ()).shape == ()


@pytest.fixture(scope="module")
def coins():
    """Bits of 16 keys, half of them 1."""
    keys = [jax.random.fold_in(jax.random.key(0), n) for n in range(16)]
    kept = jax.jit(lambda key: numerics.kept_entries(key, 0.5, (256, 512)))
    return np.stack([np.asarray(kept(key)) for key in keys]) * 2.0 - 1.0


def test_shares_of_rows_columns_and_keys_are_those_of_a_fair_coin(coins):
    for axes in ((1, 2), (0, 2), (0, 1)):
        sums = coins.sum(axis=axes) / np.sqrt(coins.size / coins.sum(axis=axes).size)
        # Sums of fair coins are nearly normal, of variance 1; 5 standard errors either way.
        assert np.abs(sums).max() < 5
        assert abs(np.mean(sums**2) - 1) < 5 * np.sqrt(2 / sums.size)


def test_neighbors_and_neighboring_keys_are_independent(coins):
    size = np.sqrt(coins.size)
    for shift in (1, 2, 3, 4, 8, 16, 32, 64, 128, 256):
        for axis in (0, 1, 2):
            if shift < coins.shape[axis]:
                product = (coins * np.roll(coins, shift, axis)).sum() / size
                assert abs(product) < 5, (shift, axis)
