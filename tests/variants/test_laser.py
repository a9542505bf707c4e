import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(qkv, causal=True):
    """Equation of arXiv:2411.03493, as a log-sum-exp of weights and values."""
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(out.shape[:-1]):
        seen = t + 1 if causal else k.shape[1]
        scores = k[b, :seen, h // 2] @ q[b, t, h] / np.sqrt(8)
        exponents = scores[:, None] + v[b, :seen, h // 2]
        out[b, t, h] = np.logaddexp.reduce(exponents) - np.logaddexp.reduce(scores)
    return out


def run(qkv, mask=masks.causal, **options):
    attend = variants.get("laser").attend
    return jax.jit(lambda *x: attend({}, *x, Options(mask=mask, **options)))(*qkv)


@pytest.mark.parametrize("causal", [False, True])
def test_matches_its_equation(qkv, causal):
    got = run(qkv, masks.causal if causal else None)
    np.testing.assert_allclose(got, oracle(qkv, causal), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("scale", [10.0, 1000.0])
def test_large_values_do_not_overflow(qkv, scale):
    """Nor do small ones vanish beside the large ones of other keys."""
    q, k, v = qkv
    v = jnp.broadcast_to(scale * v[..., :1], v.shape) + v
    np.testing.assert_allclose(run((q, k, v)), oracle((q, k, v)), rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.slow
def test_its_gradients_match_finite_differences(qkv):
    with jax.enable_x64(True):
        qkv = [np.asarray(x, np.float64) for x in qkv]

        @jax.jit
        def loss(qkv):
            return jnp.sin(variants.get("laser").attend({}, *qkv, Options(masks.causal))).sum()

        gradients = jax.jit(jax.grad(loss))(qkv)
        draw = np.random.default_rng(1)
        for n in range(3):
            change = [draw.normal(size=x.shape) * (m == n) for m, x in enumerate(qkv)]
            low, high = (
                loss([x + step * y for x, y in zip(qkv, change, strict=True)])
                for step in (-1e-6, 1e-6)
            )
            along = (np.asarray(gradients[n]) * change[n]).sum()
            np.testing.assert_allclose(along, (high - low) / 2e-6, rtol=1e-6)


@pytest.mark.slow
def test_dropout_of_all_keys_gives_zero(qkv):
    got = run(qkv, dropout_rate=0.9, dropout_key=jax.random.key(0))
    assert jnp.isfinite(got).all() and (got == 0).any()


@pytest.mark.slow
def test_the_log_sum_exp_is_that_of_the_softmax(qkv):
    out, lse = run(qkv, return_lse=True)
    plain = variants.get("scaled_dot").attend
    _, expected = jax.jit(lambda *x: plain({}, *x, Options(masks.causal, return_lse=True)))(*qkv)
    np.testing.assert_allclose(lse, expected, rtol=1e-6)
    np.testing.assert_array_equal(out, run(qkv))
