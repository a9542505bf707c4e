import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def buckets_of(x, buckets, rounds, seed):
    """Section 2 of arXiv:2001.04451: one bucket a round, for vectors [..., d]."""
    shape = rounds, buckets // 2, x.shape[-1]
    rotations = np.asarray(jax.random.normal(jax.random.key(seed), shape), np.float64)
    turned = np.einsum("...d,rcd->...rc", x, rotations)
    return np.concatenate([turned, -turned], -1).argmax(-1)


def oracle(q, k, v, causal, shared, **options):
    """Equations 2, 4 and 6, with a loop over queries; and how many keys each sees."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    of_query, of_key = (buckets_of(x, **options) for x in (q, k))
    out, seen = np.zeros((*q.shape[:-1], v.shape[-1])), []
    for b, t, h in np.ndindex(out.shape[:-1]):
        g = h * k.shape[2] // q.shape[2]
        visible = (of_query[b, t, h] == of_key[b, :, g]).any(-1)
        visible[t] = True
        if causal:
            visible[t + 1 :] = False
        if shared and visible.sum() > 1:
            visible[t] = False
        at = np.flatnonzero(visible)
        unit = k[b, at, g] / np.linalg.norm(k[b, at, g], axis=-1, keepdims=True)
        weights = np.exp(unit @ q[b, t, h] / np.sqrt(q.shape[-1]))
        out[b, t, h] = weights @ v[b, at, g] / weights.sum()
        seen.append(len(at))
    return out, seen


@pytest.mark.sampled(1)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_matches_equations_2_4_and_6(draw, causal, shared):
    q, k, v = draw(2, 9, 4, 8), draw(2, 9, 2, 8), draw(2, 9, 2, 6)
    options = {"buckets": 8, "rounds": 2, "seed": 3}
    variant = variants.get("reformer", shared=shared, **options)
    mask = masks.causal if causal else None
    got = jax.jit(lambda *x: variant.attend({}, *x, Options(mask=mask)))(q, k, v)
    expected, seen = oracle(q, k, v, causal, shared, **options)
    assert min(seen) == 1 and 1 < np.mean(seen) < 6, "some pairs are seen, and others not"
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_hashes_go_along_with_positions(draw):
    q, k, v = draw(2, 9, 4, 8), draw(2, 9, 2, 8), draw(2, 9, 2, 6)
    variant = variants.get("reformer", buckets=8, rounds=2)
    attend = jax.jit(lambda *x, **at: variant.attend({}, *x, Options(mask=masks.causal, **at)))
    whole = attend(q, k, v)
    rows = attend(q[:, 4:6], k, v, query_offset=4)
    np.testing.assert_allclose(rows, whole[:, 4:6], rtol=1e-5, atol=1e-6)
    moved = attend(q, k, v, query_offset=7, key_offset=7)
    np.testing.assert_allclose(moved, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_queries_that_are_keys_share_their_bucket(draw):
    x = draw(1, 9, 2, 8)
    own = jnp.broadcast_to(jnp.eye(9)[None, :, None], (1, 9, 2, 9))
    variant = variants.get("reformer", buckets=8, rounds=1)
    weights = np.asarray(jax.jit(variant.attend)({}, x, x, own)[0] > 0)
    for h in range(2):
        np.testing.assert_array_equal(weights[:, h], weights[:, h].T)
        # With one round, seeing each other is being in one bucket, which is transitive.
        np.testing.assert_array_equal(weights[:, h] @ weights[:, h], weights[:, h])
    assert weights.sum() > 18, "some share their bucket with another"


@pytest.mark.slow
def test_more_rounds_show_more_and_two_buckets_of_many_rounds_all(draw):
    q, k = draw(1, 9, 2, 8), draw(1, 9, 2, 8)
    own = jnp.broadcast_to(jnp.eye(9)[None, :, None], (1, 9, 2, 9))

    def count(**options):
        out = jax.jit(variants.get("reformer", **options).attend)({}, q, k, own)
        return int((out > 0).sum())

    assert count(buckets=16, rounds=1) < count(buckets=16, rounds=8)
    assert count(buckets=2, rounds=64) == 9 * 9 * 2


@pytest.mark.slow
def test_seeds_give_other_buckets(draw):
    q, k, v = draw(1, 9, 2, 8), draw(1, 9, 2, 8), draw(1, 9, 2, 6)
    first, again, other = (
        jax.jit(variants.get("reformer", buckets=8, seed=seed).attend)({}, q, k, v)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="`buckets` must be even.*; got 3. The nearest above is 4"):
        variants.get("reformer", buckets=3)
    with pytest.raises(ValueError, match="`buckets` must be a whole number of at least 1; got 0"):
        variants.get("reformer", buckets=0)
    with pytest.raises(ValueError, match="`rounds` must be a whole number of at least 1; got 0"):
        variants.get("reformer", rounds=0)
    with pytest.raises(ValueError, match="`seed` must be a whole number from 0 .*; got -1"):
        variants.get("reformer", seed=-1)
