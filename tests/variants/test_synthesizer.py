import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def logits(params, q, b, t, h):
    """Sections 3.1 and 3.2 of arXiv:2005.00743: what a query gives each position."""
    params = {name: np.asarray(x, np.float64) for name, x in params.items()}
    if "scores" in params:
        return params["scores"][h, t]
    hidden = np.maximum(params["w_1"][h] @ q[b, t, h] + params["b_1"][h], 0)
    return params["w_2"][:, h] @ hidden + params["b_2"][:, h]


def moved(variant, draw):
    """Parameters of which none is 0."""
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    return {name: x + 0.3 * draw(*x.shape) for name, x in params.items()}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", ["dense", "random"])
def test_matches_its_equation(qkv, draw, kind):
    variant = variants.get("synthesizer", kind=kind, max_length=7)
    params = moved(variant, draw)
    got = jax.jit(lambda *x: variant.attend(params, *x, Options(mask=masks.causal)))(*qkv)
    q, _, v = (np.asarray(x, np.float64) for x in qkv)
    for b, t, h in np.ndindex(got.shape[:-1]):
        weights = np.exp(logits(params, q, b, t, h)[: t + 1])
        expected = weights @ v[b, : t + 1, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dense", "random"])
def test_scores_go_along_with_positions(qkv, draw, kind):
    q, k, v = qkv
    variant = variants.get("synthesizer", kind=kind, max_length=7)
    params = moved(variant, draw)
    near = masks.causal & masks.sliding_window(2)
    attend = jax.jit(lambda *x, **at: variant.attend(params, *x, Options(mask=near, **at)))
    whole = attend(q, k, v)
    last = attend(q[:, 3:], k[:, 2:], v[:, 2:], query_offset=3, key_offset=2)
    np.testing.assert_allclose(last, whole[:, 3:], rtol=1e-5, atol=1e-6)
    beyond = attend(q, k, v, query_offset=3, key_offset=3)
    assert jnp.isfinite(beyond[:, :4]).all() and jnp.isnan(beyond[:, 4]).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dense", "random"])
def test_every_parameter_of_a_seen_position_learns(qkv, draw, kind):
    variant = variants.get("synthesizer", kind=kind, max_length=5)
    gradient = jax.jit(jax.grad(lambda params: jnp.sin(variant.attend(params, *qkv)).sum()))
    for name, leaf in gradient(moved(variant, draw)).items():
        assert jnp.isfinite(leaf).all() and (leaf != 0).mean() > 0.5, name


@pytest.mark.parametrize("kind", ["dense", "random"])
def test_keys_play_no_part(qkv, draw, kind):
    q, k, v = qkv
    variant = variants.get("synthesizer", kind=kind, max_length=5)
    params = moved(variant, draw)
    attend = jax.jit(functools.partial(variant.attend, params))
    np.testing.assert_array_equal(attend(q, k, v), attend(q, -k, v))


def test_what_it_cannot_do_is_refused(qkv):
    variant = variants.get("synthesizer", max_length=4)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    with pytest.raises(ValueError, match="got 5 from query_offset=0 and max_length=4. Raise"):
        variant.attend(params, *qkv)
    with pytest.raises(ValueError, match="`kind` must be one of 'dense', 'random'; got 'sparse'"):
        variants.get("synthesizer", kind="sparse")
    with pytest.raises(ValueError, match="`max_length` must be a whole number of at least 1"):
        variants.get("synthesizer", max_length=0)
