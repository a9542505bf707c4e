import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(qkv, bias, causal):
    """Equation 3 of arXiv:2409.04431."""
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(out.shape[:-1]):
        seen = t + 1 if causal else 5
        raised = k[b, :seen, h // 2] @ q[b, t, h] / np.sqrt(8)
        raised = raised + (-np.log(seen) if bias is None else bias)
        out[b, t, h] = 1 / (1 + np.exp(-raised)) @ v[b, :seen, h // 2]
    return out


@pytest.mark.sampled(2)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("bias", [None, 0.0, -1.5])
def test_matches_its_equation(qkv, bias, causal):
    variant, mask = variants.get("sigmoid", bias=bias), masks.causal if causal else None
    got = jax.jit(lambda *qkv: variant.attend({}, *qkv, Options(mask=mask)))(*qkv)
    np.testing.assert_allclose(got, oracle(qkv, bias, causal), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_blocks_change_nothing(qkv, draw):
    def run(implementation):
        def loss(qkv):
            out = variants.get("sigmoid").attend(
                {}, *qkv, Options(mask=masks.causal, implementation=implementation)
            )
            return (out**2).sum(), out

        return jax.jit(jax.grad(loss, has_aux=True))(qkv)

    for got, expected in zip(
        *map(jax.tree.leaves, map(run, ("blockwise", "reference"))), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
