import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(q, k, v, visible, landmarks, iterations):
    """Algorithm 1 of arXiv:2102.03902, over the visible positions."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        g, at = h * k.shape[2] // q.shape[2], np.flatnonzero(visible[b])
        parts = [at[np.arange(len(at)) * landmarks // len(at) == n] for n in range(landmarks)]
        query = np.stack([q[b, part, h].mean(0) for part in parts])
        key = np.stack([k[b, part, g].mean(0) for part in parts])
        a, read = softmax(query @ key.T), softmax(query @ k[b, at, g].T) @ v[b, at, g]
        z, eye = a.T / (a.sum(0).max() * a.sum(1).max()), np.eye(landmarks)
        for _ in range(iterations):
            z = z @ (13 * eye - a @ z @ (15 * eye - a @ z @ (7 * eye - a @ z))) / 4
        out[b, :, h] = softmax(q[b, :, h] @ key.T) @ z @ read
    return out


def softmax(products, width=8):
    powers = np.exp(products / np.sqrt(width))
    return powers / powers.sum(-1, keepdims=True)


@pytest.fixture
def long(draw):
    """Sequences of 9: more than landmarks, and no multiple of them."""
    return draw(2, 9, 4, 8), draw(2, 9, 2, 8), draw(2, 9, 2, 6)


@pytest.fixture
def visible():
    visible = np.ones((2, 9), bool)
    visible[0, [0, 4]] = visible[1, 6:] = False
    return visible


@pytest.mark.sampled(1)
@pytest.mark.parametrize("iterations", [1, 6])
def test_matches_algorithm_1(long, visible, iterations):
    variant = variants.get("nystromformer", landmarks=3, iterations=iterations)
    got = jax.jit(
        lambda *x: variant.attend({}, *x, Options(mask=masks.keys(jnp.asarray(visible))))
    )(*long)
    expected = oracle(*long, visible, 3, iterations)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_hidden_positions_reach_nothing(long, visible):
    variant = variants.get("nystromformer", landmarks=3)
    shown = jnp.asarray(visible)

    def loss(q, k, v):
        out = variant.attend({}, q, k, v, Options(mask=masks.keys(shown)))
        return jnp.where(shown[..., None, None], jnp.sin(out), 0).sum()

    seen = shown[..., None, None]
    spoiled = [jnp.where(seen, x, y) for x, y in zip(long, (9.0, jnp.nan, jnp.nan), strict=True)]
    run = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    (got, of_spoiled), (expected, gradients) = run(*spoiled), run(*long)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    for own, other in zip(of_spoiled[1:], gradients[1:], strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(own[~visible], 0)


@pytest.mark.slow
def test_as_few_keys_as_landmarks_are_attention(long, visible):
    variant = variants.get("nystromformer", landmarks=7)  # as many as each sequence shows
    visible[1, 6] = True
    mask = masks.keys(jnp.asarray(visible))
    got = jax.jit(lambda *x: variant.attend({}, *x, Options(mask=mask)))(*long)
    expected = variants.get("scaled_dot").attend({}, *long, Options(mask=mask))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_segments_of_equal_positions_are_attended_exactly(draw):
    x = jnp.repeat(4 * jnp.eye(3, 8), 3, axis=0)[None, :, None]
    q, k, v = jnp.tile(x, (1, 1, 4, 1)), jnp.tile(x, (1, 1, 2, 1)), draw(1, 9, 2, 6)
    got = jax.jit(variants.get("nystromformer", landmarks=3).attend)({}, q, k, v)
    expected = jax.jit(variants.get("scaled_dot").attend)({}, q, k, v)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_what_it_cannot_do_is_refused(long):
    q, k, v = long
    attend = variants.get("nystromformer").attend
    with pytest.raises(ValueError, match="`mask` must not hold `masks.causal`"):
        attend({}, q, k, v, Options(mask=masks.causal))
    with pytest.raises(ValueError, match="got 8 queries from 0 and 9 keys from 0"):
        attend({}, q[:, 1:], k, v)
    with pytest.raises(ValueError, match="got 9 queries from 1 and 9 keys from 0"):
        attend({}, q, k, v, Options(query_offset=1))
    with pytest.raises(ValueError, match="`dropout_rate` must be 0 for nystromformer"):
        attend({}, q, k, v, Options(dropout_rate=0.5, dropout_key=jax.random.key(0)))
    with pytest.raises(ValueError, match="`landmarks` must be a whole number of at least 1"):
        variants.get("nystromformer", landmarks=0)
    with pytest.raises(ValueError, match="`iterations` must be a whole number of at least 1"):
        variants.get("nystromformer", iterations=0)
