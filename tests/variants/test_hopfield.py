import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def softmax(x):
    powers = np.exp(x - x.max())
    return powers / powers.sum()


# A sharp network separates near states further at every step, rounding errors too; these do not.
@pytest.mark.parametrize(("steps", "beta"), [(1, None), (2, None), (3, 0.5)])
def test_matches_its_equation(qkv, steps, beta):
    got = jax.jit(variants.get("hopfield", steps=steps, beta=beta).attend)({}, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    beta = beta or 8**-0.5
    for b, t, h in np.ndindex(got.shape[:-1]):
        state = q[b, t, h]
        for _ in range(steps - 1):
            state = softmax(beta * k[b, :, h // 2] @ state) @ k[b, :, h // 2]
        expected = softmax(beta * k[b, :, h // 2] @ state) @ v[b, :, h // 2]
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_a_noisy_pattern_is_recalled(draw):
    """The network's purpose: a stored pattern from one near it."""
    patterns = np.sign(draw(1, 6, 1, 64))
    noisy = patterns * np.where(np.arange(64) < 8, -1, 1).astype(np.float32)
    recall = jax.jit(variants.get("hopfield", steps=2, beta=1.0).attend)
    np.testing.assert_allclose(recall({}, noisy, patterns, patterns), patterns, atol=1e-6)


@pytest.mark.slow
def test_dropout_leaves_the_steps_before_alone(qkv):
    q, k, v = qkv
    variant, key = variants.get("hopfield", steps=3), jax.random.key(0)
    drop = {"dropout_rate": 0.5, "dropout_key": key, "mask": masks.causal}
    got = jax.jit(lambda: variant.attend({}, q, k, v, Options(**drop)))()

    @jax.jit
    def expected():
        state = variants.get("hopfield", steps=2).attend({}, q, k, k, Options(mask=masks.causal))
        return variants.get("scaled_dot").attend({}, state, k, v, Options(**drop))

    np.testing.assert_allclose(got, expected(), rtol=1e-5, atol=1e-6)
    assert (np.asarray(got)[:, 0] == 0).any()


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="`steps` must be a whole number of at least 1; got 0"):
        variants.get("hopfield", steps=0)
    with pytest.raises(ValueError, match="`beta` must be above 0; got 0.0"):
        variants.get("hopfield", beta=0.0)
