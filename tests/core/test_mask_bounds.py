"""Blocks that masks empty or fill by their bounds, against the mask at every pair."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import mask_bounds, masks
from attention_jax.core.mask_bounds import Blocks

B, H, T, S, START_I, START_J = 3, 2, 26, 31, 5, 2


def draw(seed):
    """Every kind of mask, with parameters from a generator."""
    random = np.random.default_rng(seed)
    n = lambda high=9: int(random.integers(1, high))  # noqa: E731
    query_ids, key_ids = (np.sort(random.integers(0, 6, (B, length))) for length in (29, 33))
    names = random.permutation(6)  # documents in another order, some without keys or queries
    visible = jnp.asarray(random.random((1, H, 28, 40)) < (0.5, 0.97)[seed % 2])
    stride, odd = n(), 2 * n(3) + 1
    exact = {
        "full": masks.full,
        "causal": masks.causal,
        "window": masks.sliding_window(n()),
        "dilated": masks.sliding_window(n(), dilation=n(5)),
        "strided": masks.strided(n()),
        "chunks": masks.chunks(n()),
        "row": masks.axial(n(), along="row"),
        "column": masks.axial(n(), along="column"),
        "summaries": masks.summaries(stride, int(random.integers(1, stride + 1))),
        "global": masks.global_tokens(n(20)),
        "prefix": masks.prefix(n(40)),
        "prefix of an array": masks.prefix(jnp.int32(n(40))),
        "lengths": masks.lengths(jnp.asarray(random.integers(0, 40, B))),
        "keys": masks.keys(jnp.asarray(random.random((B, 30)) < 0.8)),
        "documents": masks.documents(jnp.asarray(names[query_ids]), jnp.asarray(names[key_ids])),
        "array": masks.from_array(visible),
    }
    loose = {
        "neighborhood": masks.neighborhood(odd, height=n(), width=n()),
        "axial": masks.axial(n()),
        "causal window": masks.causal & exact["window"],
        "packed": masks.causal & exact["documents"],
        "prefix or causal": masks.causal | exact["prefix"],
        "not a window": ~exact["window"],
        "all of it": (exact["global"] | masks.causal & exact["strided"]) & ~exact["chunks"],
    }
    return [(name, mask, name in exact) for name, mask in (exact | loose).items()]


def blocks(b, h, seed):
    random = np.random.default_rng(seed)
    edges = []
    for start, length in ((START_I, T), (START_J, S)):
        first = random.integers(0, length, 300)
        last = np.minimum(first + random.integers(0, 12, 300), length - 1)
        edges += [start + first, start + last]
    return Blocks(b, h, *edges)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_bounds_agree_with_every_pair(seed):
    at = np.ix_(np.arange(B), np.arange(H), START_I + np.arange(T), START_J + np.arange(S))
    for name, mask, exact in draw(seed):
        table = np.broadcast_to(mask(*map(jnp.asarray, at)), (B, H, T, S))
        for b, h in np.ndindex(B, H):
            own = blocks(b, h, seed)
            found = mask_bounds.seen(mask, own)
            assert found is not None, name
            pieces = [
                table[b, h, i - START_I : last_i + 1 - START_I, j - START_J : last_j + 1 - START_J]
                for i, last_i, j, last_j in zip(*own[2:], strict=True)
            ]
            some, every = (np.array([f(x) for x in pieces]) for f in (np.any, np.all))
            assert (found.some | ~some).all() and (every | ~found.every).all(), name
            if exact:
                np.testing.assert_array_equal(found.some, some, name)
                np.testing.assert_array_equal(found.every, every, name)


def test_windows_of_what_came_before_are_exact_together():
    mask = masks.causal & masks.sliding_window(7)
    i, j = jnp.arange(40)[:, None], jnp.arange(40)[None]
    table = np.asarray(mask(jnp.int32(0), jnp.int32(0), i, j))
    first = np.repeat(np.arange(0, 40, 4), 10), np.tile(np.arange(0, 40, 4), 10)
    found = mask_bounds.seen(mask, Blocks(0, 0, first[0], first[0] + 3, first[1], first[1] + 3))
    tiles = table.reshape(10, 4, 10, 4)
    np.testing.assert_array_equal(found.some, tiles.any((1, 3)).reshape(-1))
    np.testing.assert_array_equal(found.every, tiles.all((1, 3)).reshape(-1))


def test_of_traced_arrays_nothing_is_known_but_of_what_stands_beside_them():
    own = Blocks(0, 0, *(np.array([x, x + 3]) for x in (0, 2, 8, 9)))

    @jax.jit
    def trace(n):
        either = mask_bounds.seen(masks.prefix(n) | masks.sliding_window(20), own)
        both = mask_bounds.seen(masks.prefix(n) & ~masks.causal, own)
        assert either.every.all() and both.some.all() and not both.every.any()
        assert not mask_bounds.seen(masks.prefix(n) & masks.causal, own).some[0]
        return n

    trace(3)


def test_functions_of_users_and_documents_that_come_again_are_left_to_evaluation():
    own = blocks(0, 0, 0)
    again = jnp.array([[0, 1, 0, 1] * 8])
    for mask in (
        lambda b, h, i, j: j <= i,
        masks.causal & (lambda b, h, i, j: j != 3),
        ~masks.Mask(lambda b, h, i, j: j != 3),
        masks.documents(again, again),
    ):
        assert mask_bounds.seen(mask, own) is None
