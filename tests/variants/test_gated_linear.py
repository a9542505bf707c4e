import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(params, q, k, v, visible, temperature=16.0, normalize=True):
    """Equation 3 and section 4.4 of arXiv:2312.06635, one position after another."""
    down, up, bias, q, k, v = (
        np.asarray(x, np.float64) for x in (params["down"], params["up"], params["bias"], q, k, v)
    )
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        at, state = h * k.shape[2] // q.shape[2], np.zeros((k.shape[-1], v.shape[-1]))
        for t in range(q.shape[1]):
            key = k[b, t, at]
            gate = 1 / (1 + np.exp(-(key @ down[h] @ up[h] + bias[h])))
            if visible[b, t]:
                state = gate[:, None] ** (1 / temperature) * state + np.outer(key, v[b, t, at])
            row = q[b, t, h] @ state
            if normalize:
                row = (row - row.mean()) / np.sqrt(row.var() + 1e-5)
            out[b, t, h] = row
    return out


def made(**options):
    variant = variants.get("gated_linear", **options)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    params["bias"] = params["bias"] + jnp.linspace(-2, 2, 8)[None]
    return variant, params


@pytest.mark.sampled(1)
@pytest.mark.parametrize("options", [{}, {"rank": 2, "temperature": 1.0, "normalize": False}])
def test_matches_equation_3(qkv, options):
    variant, params = made(**options)
    visible = jnp.ones((2, 5), bool).at[0, 2].set(False)
    mask = masks.causal & masks.keys(visible)
    got = jax.jit(lambda *x: variant.attend(params, *x, Options(mask=mask)))(*qkv)
    options.pop("rank", None)
    expected = oracle(params, *qkv, visible, **options)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_more_than_three_chunks_match_too(draw):
    variant, params = made(normalize=False, temperature=1.0)
    qkv = draw(1, 71, 4, 8), draw(1, 71, 2, 8), draw(1, 71, 2, 6)
    got = jax.jit(lambda *x: variant.attend(params, *x, Options(mask=masks.causal)))(*qkv)
    expected = oracle(params, *qkv, np.ones((1, 71)), temperature=1.0, normalize=False)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=5e-6)


@pytest.mark.slow
def test_open_gates_add_up_all_keys(qkv):
    variant, params = made(normalize=False)
    params["bias"] = jnp.full_like(params["bias"], 1e4)
    got = jax.jit(lambda *x: variant.attend(params, *x, Options(mask=masks.causal)))(*qkv)
    q, k, v = qkv
    weights = jnp.einsum("bthd,bshd->bhts", q, jnp.repeat(k, 2, axis=2))
    expected = jnp.einsum("bhts,bshe->bthe", jnp.tril(weights), jnp.repeat(v, 2, axis=2))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-6)


def test_passes_both_ways_and_bad_options_are_refused(qkv):
    variant, params = made()
    with pytest.raises(ValueError, match="gated_linear takes in one .* must hold `masks.causal`"):
        variant.attend(params, *qkv)
    with pytest.raises(ValueError, match="`rank` must be a whole number of at least 1; got 0"):
        variants.get("gated_linear", rank=0)
    with pytest.raises(ValueError, match="`temperature` must be above 0; got 0.0"):
        variants.get("gated_linear", temperature=0.0)
