import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(q, k, v):
    """Equation 1 of arXiv:1706.03762."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(q.shape[:-1]):
        weights = np.exp(k[b, :, h // 2] @ q[b, t, h] / np.sqrt(q.shape[-1]))
        out[b, t, h] = weights @ v[b, :, h // 2] / weights.sum()
    return out


def test_matches_equation_1(qkv):
    got = jax.jit(variants.get("scaled_dot").attend)({}, *qkv)
    np.testing.assert_allclose(got, oracle(*qkv), rtol=1e-5, atol=1e-6)


def test_matches_torch(qkv):
    torch = pytest.importorskip("torch")
    q, k, v = (torch.from_numpy(np.array(x)).transpose(1, 2).requires_grad_() for x in qkv)
    attend = torch.nn.functional.scaled_dot_product_attention
    out = attend(q, k, v, is_causal=True, enable_gqa=True)
    (out**2).sum().backward()

    def loss(qkv):
        out = variants.get("scaled_dot").attend({}, *qkv, Options(mask=masks.causal))
        return (out**2).sum(), out

    gradients, got = jax.jit(jax.grad(loss, has_aux=True))(qkv)
    np.testing.assert_allclose(got, out.detach().transpose(1, 2), rtol=1e-5, atol=1e-6)
    for mine, other in zip(gradients, (q, k, v), strict=True):
        np.testing.assert_allclose(mine, other.grad.transpose(1, 2), rtol=1e-4, atol=1e-5)
