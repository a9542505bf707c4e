import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core.types import Options


def rotation(position, width, base):
    """Equation 15 of arXiv:2104.09864."""
    turn = np.zeros((width, width))
    for c in range(width // 2):
        angle = position / base ** (2 * c / width)
        turn[2 * c : 2 * c + 2, 2 * c : 2 * c + 2] = [
            [np.cos(angle), -np.sin(angle)],
            [np.sin(angle), np.cos(angle)],
        ]
    return turn


@pytest.mark.parametrize("base", [10_000.0, 10.0])
def test_matches_its_equation(qkv, base):
    variant = variants.get("rope", base=base)
    got = jax.jit(lambda *qkv: variant.attend({}, *qkv, Options(query_offset=4, key_offset=1)))(
        *qkv
    )
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    for b, t, h in np.ndindex(got.shape[:-1]):
        turned = rotation(t + 4, 8, base) @ q[b, t, h]
        scores = [(rotation(j + 1, 8, base) @ k[b, j, h // 2]) @ turned for j in range(5)]
        weights = np.exp(np.array(scores) / np.sqrt(8))
        expected = weights @ v[b, :, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_only_distances_matter(qkv):
    run = jax.jit(
        lambda at: variants.get("rope").attend({}, *qkv, Options(query_offset=at, key_offset=at))
    )
    np.testing.assert_allclose(run(jnp.int32(9)), run(jnp.int32(0)), rtol=1e-5, atol=1e-5)


def test_what_has_no_turn_is_refused(qkv, users_errors):
    with pytest.raises(ValueError, match="`base` must be above 0; got 0"):
        variants.get("rope", base=0)
    q, k, v = qkv
    with pytest.raises(ValueError, match="`width` must be even, .* got 7"):
        variants.get("rope").attend({}, q[..., :7], k[..., :7], v)


@pytest.mark.slow
def test_the_log_sum_exp_is_that_of_the_turned_scores(qkv):
    narrow = tuple(x.astype(jnp.bfloat16) for x in qkv)
    out, lse = variants.get("rope").attend({}, *narrow, Options(return_lse=True))
    q, k = (np.asarray(x, np.float64) for x in narrow[:2])
    assert out.dtype == jnp.bfloat16 and lse.shape == (2, 5, 4)
    turned = [rotation(j, 8, 10_000.0) @ k[1, j, 1] for j in range(5)]
    expected = np.log(np.exp(turned @ q[1, 0, 3] / np.sqrt(8)).sum())
    np.testing.assert_allclose(lse[1, 0, 3], expected, rtol=1e-5, atol=1e-6)
