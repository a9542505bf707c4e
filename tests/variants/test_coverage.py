import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.variants.coverage import coverage_loss

SIZES = {"heads": 4, "kv_heads": 2, "head_width": 8}
PADDED = jnp.array([[True, True, False, True, True], [False, True, True, True, False]])


def learned(draw, **options):
    """Parameters of which none is 0."""
    params = variants.get("coverage", **options).init(jax.random.key(0), **SIZES)
    return params | {"b": draw(*params["b"].shape), "w_c": draw(*params["w_c"].shape)}


def oracle(params, q, k, v, visible):
    """Equations 10 and 11 of arXiv:1704.04368, one query after another; output and weights."""
    params = {name: np.asarray(x, np.float64) for name, x in params.items()}
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out, all_weights = np.zeros((*q.shape[:-1], v.shape[-1])), np.zeros((*q.shape[:-1], k.shape[1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        covered = np.zeros(k.shape[1])
        for t in range(q.shape[1]):
            score = np.array(
                [
                    params["w"]
                    @ np.tanh(
                        params["w_q"] @ q[b, t, h]
                        + params["w_k"] @ k[b, j, h // 2]
                        + params["w_c"] * covered[j]
                        + params["b"]
                    )
                    for j in range(k.shape[1])
                ]
            )
            weights = np.exp(score) * visible[b]
            weights = weights / weights.sum()
            covered += weights
            out[b, t, h], all_weights[b, t, h] = weights @ v[b, :, h // 2], weights
    return out, all_weights


@pytest.mark.parametrize("width", [None, 3])
def test_matches_equations_10_and_11(qkv, draw, width):
    params = learned(draw, width=width)
    attend = variants.get("coverage", width=width).attend
    got = jax.jit(lambda *x: attend(params, *x, Options(mask=masks.keys(PADDED))))(*qkv)
    expected, _ = oracle(params, *qkv, np.asarray(PADDED))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_at_first_it_is_additive_attention(qkv):
    variant = variants.get("coverage")
    params = variant.init(jax.random.key(0), **SIZES)
    additive = {name: params[name] for name in ("w_q", "w_k", "w")}
    got = jax.jit(variant.attend)(params, *qkv)
    expected = jax.jit(variants.get("additive").attend)(additive, *qkv)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_loss_is_equation_12_of_the_weights_that_unit_values_give(qkv, draw):
    q, k, _ = qkv
    params = learned(draw)
    units = jnp.broadcast_to(jnp.eye(5)[None, :, None], (2, 5, 2, 5))
    weights = jax.jit(variants.get("coverage").attend)(params, q, k, units)
    _, expected = oracle(params, q, k, units, np.ones((2, 5)))
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-6)
    loss = coverage_loss(weights)
    for b, t, h in np.ndindex(loss.shape):
        covered = expected[b, :t, h].sum(0)
        np.testing.assert_allclose(
            loss[b, t, h], np.minimum(expected[b, t, h], covered).sum(), rtol=1e-5, atol=1e-6
        )


def test_a_hidden_layer_has_a_width():
    with pytest.raises(ValueError, match="`width` must be a whole number of at least 1; got 0"):
        variants.get("coverage", width=0)
