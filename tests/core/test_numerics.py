"""Dropout's counter against the cipher of Salmon et al. 2011, in whole numbers of Python."""

import jax
import jax.numpy as jnp
import numpy as np

from attention_jax.core import numerics

ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)
LIMIT = 2**32


def threefry(key, counter):
    """Threefry-2x32 with 20 rounds: Salmon et al. 2011, "Parallel random numbers", section 2."""
    keys = (*key, 0x1BD11BDA ^ key[0] ^ key[1])
    x, y = ((c + k) % LIMIT for c, k in zip(counter, keys[:2], strict=True))
    for block in range(5):
        for turn in ROTATIONS[block % 2]:
            x = (x + y) % LIMIT
            y = (y << turn | y >> (32 - turn)) % LIMIT ^ x
        x = (x + keys[(block + 1) % 3]) % LIMIT
        y = (y + keys[(block + 2) % 3] + block + 1) % LIMIT
    return x, y


def test_a_pair_is_kept_by_the_hash_of_its_place_under_that_of_its_head():
    key, rate = jax.random.key(7), 0.3
    seed = tuple(map(int, jax.random.bits(key, (2,), jnp.uint32)))
    at = jnp.arange(2), jnp.arange(3), 5 + jnp.arange(4), jnp.arange(6) - 1
    got = numerics.kept_pairs(key, rate, jnp.ix_(*at))
    for n in np.ndindex(2, 3, 4, 6):
        b, h, i, j = (int(x[place]) % LIMIT for x, place in zip(at, n, strict=True))
        word, _ = threefry(threefry(seed, (b, h)), (i, j))
        assert got[n] == (word >= round(rate * LIMIT))
