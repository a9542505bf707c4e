"""Rows of two parts of the keys, computed apart and merged, are those of all keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import attention_jax as aj
from attention_jax import masks, normalizers
from attention_jax.core import merging
from attention_jax.core.merging import Part

SINK = jnp.array([0.5, -1.0])
MERGES = {
    "softmax": normalizers.softmax,
    "sink": normalizers.softmax_with_sink(SINK),
    "sigmoid": normalizers.sigmoid(0.3),
    "relu": normalizers.relu,
    "sigmoid of count": normalizers.sigmoid(None),
}


def part(q, k, v, first, normalizer=normalizers.softmax):
    own = {"normalizer": normalizer, "return_lse": normalizer.lse is not None}
    out = aj.attention(q, k, v, mask=masks.causal, key_offset=first, **own)
    return Part(*out) if isinstance(out, tuple) else Part(out, None)


@pytest.fixture
def arrays(draw):
    return draw(1, 6, 2, 4), draw(1, 6, 2, 4), draw(1, 6, 2, 3)


@pytest.mark.parametrize("name", MERGES)
def test_normalizers_that_merge(name, arrays):
    found = merging.merge_of(MERGES[name])
    assert found is not None and found.by_lse == ("softmax" in name or name == "sink")


@pytest.mark.parametrize(
    "normalizer", [normalizers.sparsemax, normalizers.entmax15, normalizers.top_k(2)]
)
def test_normalizers_that_need_whole_rows(normalizer):
    assert merging.merge_of(normalizer) is None


def halves(q, k, v, **options):
    """The parts of the first and the last three keys; the first three queries do not see these."""
    return part(q, k[:, :3], v[:, :3], 0, **options), part(q, k[:, 3:], v[:, 3:], 3, **options)


@pytest.mark.slow
def test_softmaxes_merge_with_all_derivatives(arrays):
    """Also where a part sees nothing."""
    merged = lambda *x: tuple(merging.merged(*halves(*x)))  # noqa: E731
    whole = lambda *x: tuple(part(*x, 0))  # noqa: E731
    loss = lambda f: lambda *x: sum(jnp.sin(y).sum() for y in f(*x))  # noqa: E731
    got, expected = (jax.value_and_grad(loss(f), (0, 1, 2))(*arrays) for f in (merged, whole))
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_tangents_and_cotangents_of_parts_are_those_of_the_merge(arrays):
    parts = halves(*arrays)
    whole = merging.merged(*parts)
    moves = jax.tree.map(jnp.cos, parts)
    _, expected = jax.jvp(merging.merged, parts, moves)
    # A part that sees nothing has -inf, which no tangent moves.
    own = [merging.moved(x, move, whole) for x, move in zip(parts, moves, strict=True)]
    added = jax.tree.map(jnp.add, *own)
    np.testing.assert_allclose(added.out, expected.out, rtol=1e-5, atol=1e-6)
    given = jax.tree.map(jnp.sin, jax.tree.map(lambda x: x + 1, whole))
    _, pull = jax.vjp(merging.merged, *parts)
    to_pull = merging.to_pull(given, whole)
    for x, y in zip(parts, pull(given), strict=True):
        got = merging.pulled(x, to_pull, whole.lse)
        np.testing.assert_allclose(got.out, y.out, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(got.lse, y.lse, rtol=1e-5, atol=1e-6)


def test_sums_and_counts(arrays):
    q, k, v = arrays
    got = merging.merged(*halves(*arrays, normalizer=merging.RELU_SUM))
    seen = sum(x.out for x in halves(q, k, v * 0 + 1, normalizer=merging.COUNT))
    np.testing.assert_array_equal(seen[0, :, 0, 0], np.arange(1, 7))
    expected = part(q, k, v, 0, normalizer=normalizers.relu)
    np.testing.assert_allclose(got.out / seen, expected.out, rtol=1e-5, atol=1e-6)
