import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(q, k, v, causal):
    """Equations 7 and 9 of arXiv:2006.16236, as weights of single pairs."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    q, k = (np.where(x > 0, x + 1, np.exp(np.minimum(x, 0))) for x in (q, k))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(out.shape[:-1]):
        end, at = (t + 1 if causal else k.shape[1]), h * k.shape[2] // q.shape[2]
        weights = k[b, :end, at] @ q[b, t, h]
        out[b, t, h] = weights @ v[b, :end, at] / weights.sum()
    return out


@pytest.mark.parametrize("causal", [False, True])
def test_matches_equations_7_and_9(qkv, causal):
    mask = masks.causal if causal else None
    got = jax.jit(lambda *x: variants.get("linear").attend({}, *x, Options(mask=mask)))(*qkv)
    np.testing.assert_allclose(got, oracle(*qkv, causal), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_more_than_three_chunks_match_too(draw):
    qkv = draw(1, 213, 4, 8), draw(1, 213, 2, 8), draw(1, 213, 2, 6)
    got = jax.jit(lambda *x: variants.get("linear").attend({}, *x, Options(mask=masks.causal)))(
        *qkv
    )
    np.testing.assert_allclose(got, oracle(*qkv, True), rtol=1e-5, atol=1e-6)


def test_one_sequence_may_look_at_another(draw):
    qkv = draw(2, 3, 4, 8), draw(2, 7, 2, 8), draw(2, 7, 2, 6)
    got = jax.jit(lambda *x: variants.get("linear").attend({}, *x))(*qkv)
    np.testing.assert_allclose(got, oracle(*qkv, False), rtol=1e-5, atol=1e-6)


def test_features_far_below_zero_keep_their_digits(qkv):
    q, k, v = qkv
    got = jax.jit(lambda *x: variants.get("linear").attend({}, *x))(q - 20, k - 20, v)
    # exp(x - 20) - 1 + 1 would be 0 in float32; products of the features are as small as 1e-17.
    np.testing.assert_allclose(got, oracle(q - 20, k - 20, v, False), rtol=1e-5, atol=1e-6)


def test_dropout_is_refused(qkv):
    with pytest.raises(ValueError, match="`dropout_rate` must be 0 for linear"):
        variants.get("linear").attend(
            {}, *qkv, Options(dropout_rate=0.1, dropout_key=jax.random.key(0))
        )


def test_the_state_does_not_grow():
    sizes = {"heads": 4, "kv_heads": 2, "head_width": 8, "value_width": 6, "dtype": jnp.float32}
    states = [variants.get("linear").start({}, 3, length, **sizes) for length in (5, 5000)]
    assert [x.shape for x in states[0]] == [x.shape for x in states[1]] == [(3, 2, 8, 7), (3,)]
