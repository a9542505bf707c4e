import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(q, k, v, causal, max_length):
    """Section 3 of arXiv:2202.08791."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(out.shape[:-1]):
        end, at = (t + 1 if causal else k.shape[1]), h * k.shape[2] // q.shape[2]
        distance = t - np.arange(end)
        weights = np.maximum(k[b, :end, at], 0) @ np.maximum(q[b, t, h], 0)
        weights *= np.cos(np.pi / 2 * distance / max_length)
        # All features may be 0; the sum is no rounding of 0 else.
        out[b, t, h] = weights @ v[b, :end, at] / (weights.sum() or 1)
    return out


@pytest.mark.sampled(1)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("max_length", [5, 512])
def test_matches_its_equation(qkv, causal, max_length):
    variant, mask = variants.get("cosformer", max_length=max_length), masks.causal
    got = jax.jit(lambda *x: variant.attend({}, *x, Options(mask=mask if causal else None)))(*qkv)
    np.testing.assert_allclose(got, oracle(*qkv, causal, max_length), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_more_than_three_chunks_match_too(draw):
    qkv = draw(1, 213, 4, 8), draw(1, 213, 2, 8), draw(1, 213, 2, 6)
    variant = variants.get("cosformer", max_length=213)
    got = jax.jit(lambda *x: variant.attend({}, *x, Options(mask=masks.causal)))(*qkv)
    np.testing.assert_allclose(got, oracle(*qkv, True, 213), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_query_without_a_feature_gives_0_and_no_gradient(qkv):
    q, k, v = qkv
    q = -jnp.abs(q)

    def loss(*qkv):
        out = variants.get("cosformer").attend({}, *qkv)
        return out.sum(), out

    gradients, out = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(q, k, v)
    assert not out.any() and not any(x.any() for x in gradients)


@pytest.mark.slow
def test_distances_count_from_the_offsets(qkv):
    q, k, v = qkv
    attend = variants.get("cosformer", max_length=8).attend
    whole = jax.jit(lambda *x: attend({}, *x))(q, k, v)
    last = jax.jit(lambda *x: attend({}, *x, Options(query_offset=3)))(q[:, 3:], k, v)
    np.testing.assert_allclose(last, whole[:, 3:], rtol=1e-5, atol=1e-6)


def test_distances_of_no_weight_are_refused(qkv):
    attend = variants.get("cosformer", max_length=5).attend
    with pytest.raises(ValueError, match="`length` must be at most `max_length`; got length=6"):
        attend({}, *qkv, Options(query_offset=1))
    with pytest.raises(ValueError, match="must be Python numbers or the same array"):
        attend({}, *qkv, Options(query_offset=jnp.int32(1)))
    sizes = {"heads": 4, "kv_heads": 2, "head_width": 8, "value_width": 6, "dtype": jnp.float32}
    with pytest.raises(ValueError, match="`length` must be at most `max_length`; got length=9"):
        variants.get("cosformer", max_length=8).start({}, 1, 9, **sizes)
    with pytest.raises(ValueError, match="`max_length` must be a whole number of at least 1"):
        variants.get("cosformer", max_length=0)
