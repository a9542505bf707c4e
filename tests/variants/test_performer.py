import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention, variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.variants.performer import _directions


def oracle(q, k, v, causal, features, seed=0):
    """Lemma 1 and section 2.4 of arXiv:2009.14794, as weights of single pairs."""
    directions = _directions(features, q.shape[-1], seed)
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    q, k = (x / x.shape[-1] ** 0.25 for x in (q, k))
    q, k = (np.exp(x @ directions.T - (x**2).sum(-1, keepdims=True) / 2) for x in (q, k))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(out.shape[:-1]):
        end, at = (t + 1 if causal else k.shape[1]), h * k.shape[2] // q.shape[2]
        weights = k[b, :end, at] @ q[b, t, h]
        out[b, t, h] = weights @ v[b, :end, at] / weights.sum()
    return out


@pytest.mark.parametrize("causal, features", [(False, None), (True, None), (True, 5)])
def test_matches_its_equation(qkv, causal, features):
    mask, variant = masks.causal if causal else None, variants.get("performer", features=features)
    got = jax.jit(lambda *x: variant.attend({}, *x, Options(mask=mask)))(*qkv)
    # d log d is 16.6 at d = 8.
    expected = oracle(*qkv, causal, features or 17)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_one_sequence_may_look_at_another(draw):
    qkv = draw(2, 3, 4, 8), draw(2, 7, 2, 8), draw(2, 7, 2, 6)
    got = jax.jit(lambda *x: variants.get("performer", seed=3).attend({}, *x))(*qkv)
    np.testing.assert_allclose(got, oracle(*qkv, False, 17, 3), rtol=1e-5, atol=1e-6)


def test_directions_are_orthogonal_within_a_block_and_as_long_as_normal_vectors():
    directions = _directions(20, 8, 0)
    lengths = np.linalg.norm(directions, axis=-1, keepdims=True)
    for start in (0, 8, 16):
        block = (directions / lengths)[start : start + 8]
        np.testing.assert_allclose(block @ block.T, np.eye(len(block)), atol=1e-12)
    many = _directions(8000, 8, 1)
    # The mean of |w|^2 is d; its standard error over 8000 is sqrt(2 d / 8000) = 0.045.
    assert abs((many**2).sum(-1).mean() - 8) < 4 * 0.045
    np.testing.assert_allclose(many.T @ many / 8000, np.eye(8), atol=0.1)


@pytest.mark.slow
def test_products_of_features_are_right_on_average(draw):
    x, y = (np.asarray(draw(8), np.float64) / 2 for _ in range(2))
    products = []
    for seed in range(2000):
        directions = _directions(8, 8, seed)
        powers = directions @ (x + y) - (x @ x + y @ y) / 2
        products.append(np.exp(powers).mean())
    error = np.std(products) / np.sqrt(len(products))
    assert error < 0.05 * np.exp(x @ y)
    assert abs(np.mean(products) - np.exp(x @ y)) < 4 * error


@pytest.mark.slow
def test_many_features_come_near_to_the_softmax(qkv):
    q, k, v = qkv
    q, k = q / 2, k / 2
    exact = jax.jit(attention)(q, k, v)
    errors = {256: 0.0, 4096: 0.0}
    for features, seed in np.ndindex(2, 6):
        features = list(errors)[features]
        run = jax.jit(variants.get("performer", features=features, seed=seed).attend)
        errors[features] += float(((run({}, q, k, v) - exact) ** 2).mean()) / 6
    # 16 times the features make a quarter of the error on average: a 16th of its square.
    assert errors[4096] < errors[256] / 8 and errors[4096] < 0.02**2


@pytest.mark.sampled(2)
@pytest.mark.parametrize("width, long", [(8, True), (192, True), (512, False)])
def test_features_neither_overflow_nor_vanish(draw, width, long):
    q, k, v = draw(1, 6, 2, width), draw(1, 6, 2, width), draw(1, 6, 2, 4)
    directions = jnp.asarray(_directions(32, width, 0), jnp.float32) * width**0.25
    # Keys that point along a direction have the largest features there are.
    k = k.at[0, :, 0].set(directions[:6]) if long else k
    variant = variants.get("performer", features=32)
    out = jax.jit(lambda *x: variant.attend({}, *x, Options(mask=masks.causal)))(
        10 * q, k, jnp.ones_like(v)
    )
    np.testing.assert_allclose(out, np.ones(v.shape), rtol=1e-5)


@pytest.mark.slow
def test_the_seed_sets_the_features(qkv):
    first, again, other = (
        jax.jit(variants.get("performer", seed=seed).attend)({}, *qkv) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="`features` must be a whole number of at least 1; got 0"):
        variants.get("performer", features=0)
    with pytest.raises(ValueError, match="`seed` must be a whole number from 0 to .*; got -1"):
        variants.get("performer", seed=-1)
