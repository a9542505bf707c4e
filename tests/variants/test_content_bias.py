import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options

CAUSAL = Options(mask=masks.causal)


def oracle(params, x, q, k, v, reach):
    """The claim, pair by pair, in float64."""
    params = {name: np.asarray(p, np.float64) for name, p in params.items()}
    x, q, k, v = (np.asarray(a, np.float64) for a in (x, q, k, v))
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for b, i, h in np.ndindex(*q.shape[:3]):
        at, content = h * k.shape[2] // q.shape[2], x[b, i] @ params["content"][:, h]
        logits = np.array([k[b, j, at] @ q[b, i, h] / np.sqrt(q.shape[-1]) for j in range(i + 1)])
        for j in range(max(i - reach + 1, 0), i + 1):
            logits[j] += content @ params["distance"][h, :, i - j]
        weights = np.exp(logits)
        out[b, i, h] = weights / weights.sum() @ v[b, : i + 1, at]
    return out


def made(x, **options):
    variant = variants.get("content_bias", **options)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8, width=x.shape[-1])
    moved = jax.random.normal(jax.random.key(1), params["distance"].shape)
    return variant, params | {"distance": moved}


def test_matches_the_equation(draw, qkv):
    x = draw(2, 5, 12)
    variant, params = made(x, reach=3, rank=2)
    out = jax.jit(
        lambda p, x, *qkv: variant.attend(p, *qkv, CAUSAL, features=variant.features(p, x))
    )(params, x, *qkv)
    np.testing.assert_allclose(out, oracle(params, x, *qkv, 3), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_later_query_has_its_own_features(draw, qkv):
    q, k, v = qkv
    x = draw(2, 5, 12)
    variant, params = made(x, reach=4)
    features = variant.features(params, x[:, 3:])
    out = variant.attend(params, q[:, 3:], k, v, CAUSAL._replace(query_offset=3), features=features)
    want = oracle(params, x, q, k, v, 4)[:, 3:]
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-6)


def test_starts_as_the_scaled_dot_product(draw, qkv):
    x = draw(2, 5, 12)
    variant, params = made(x)
    params = params | {"distance": jnp.zeros_like(params["distance"])}
    out = variant.attend(params, *qkv, CAUSAL, features=variant.features(params, x))
    plain = variants.get("scaled_dot").attend({}, *qkv, CAUSAL)
    np.testing.assert_allclose(out, plain, rtol=1e-6, atol=1e-6)
