import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options

SIZES = {"heads": 4, "kv_heads": 2, "head_width": 8}


def oracle(params, qkv, offset=0):
    """The equation of arXiv:2310.04418, with the causal mask."""
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    p = {name: np.asarray(x, np.float64) for name, x in params.items()}
    psi = lambda x: np.log(1 + abs(p["rate"]) * x)  # noqa: E731
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(out.shape[:-1]):
        share = psi(t - np.arange(t + 1)) / psi(max(t + offset, 512 * abs(p["length"])))
        hidden = np.maximum(share[:, None] * p["w1"] + p["b1"], 0)
        bias = hidden @ p["w2"][h] + p["b2"][h]
        weights = np.exp(k[b, : t + 1, h // 2] @ q[b, t, h] / np.sqrt(8) + bias)
        out[b, t, h] = weights @ v[b, : t + 1, h // 2] / weights.sum()
    return out


def run(params, qkv, offset=0):
    options = Options(mask=masks.causal, query_offset=offset, key_offset=offset)
    return jax.jit(lambda *qkv: variants.get("fire").attend(params, *qkv, options))(*qkv)


@pytest.mark.parametrize("length", [1.0, 0.004])
def test_matches_its_equation(qkv, length):
    """Queries before and after the length from which on each has a scale of its own."""
    params = variants.get("fire").init(jax.random.key(0), **SIZES)
    params |= {"rate": jnp.float32(0.7), "length": jnp.float32(length)}
    np.testing.assert_allclose(run(params, qkv), oracle(params, qkv), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_later_queries_have_larger_scales(qkv):
    params = variants.get("fire").init(jax.random.key(0), **SIZES)
    got = run(params, qkv, 3000)
    np.testing.assert_allclose(got, oracle(params, qkv, 3000), rtol=1e-5, atol=1e-6)
    assert np.abs(got - run(params, qkv)).max() > 1e-4


@pytest.mark.slow
def test_its_parameters_have_their_gradients(qkv):
    variant = variants.get("fire", hidden=3)
    params = variant.init(jax.random.key(0), **SIZES) | {"length": jnp.float32(0.004)}
    with jax.enable_x64(True):
        qkv = [np.asarray(x, np.float64) for x in qkv]
        params = {name: np.asarray(x, np.float64) for name, x in params.items()}

        @jax.jit
        def loss(params):
            return (variant.attend(params, *qkv, Options(mask=masks.causal)) ** 2).sum()

        gradient = jax.jit(jax.grad(loss))(params)
        for name, x in params.items():
            change = np.random.default_rng(1).normal(size=x.shape)
            low, high = (loss(params | {name: x + step * change}) for step in (-1e-6, 1e-6))
            along = (np.asarray(gradient[name]) * change).sum()
            np.testing.assert_allclose(along, (high - low) / 2e-6, rtol=1e-5, atol=1e-8)
