import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


@pytest.mark.sampled(2)
@pytest.mark.parametrize("distance", [1, 2])
@pytest.mark.parametrize("keys", [3, 5, 8])
def test_matches_its_equation(draw, distance, keys):
    q, k, v = draw(2, 5, 4, 8), draw(2, keys, 2, 8), draw(2, keys, 2, 6)
    got = jax.jit(variants.get("local_monotonic", distance=distance).attend)({}, q, k, v)
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    for b, t, h in np.ndindex(got.shape[:-1]):
        seen = list(range(max(t - distance, 0), min(t + distance + 1, keys)))
        weights = np.exp(k[b, seen, h // 2] @ q[b, t, h] / np.sqrt(8))
        expected = weights @ v[b, seen, h // 2] / weights.sum() if seen else 0
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_within_one_sequence_it_is_a_sliding_window(qkv):
    got, expected = (
        jax.jit(variants.get(name, **options).attend)({}, *qkv)
        for name, options in (("local_monotonic", {"distance": 1}), ("sliding_window", {"size": 2}))
    )
    np.testing.assert_array_equal(got, expected)


SIZES = {"heads": 4, "kv_heads": 2, "head_width": 8, "value_width": 6, "dtype": jnp.float32}


@pytest.mark.slow
def test_steps_keep_a_window_and_reproduce_the_causal_pass(qkv):
    variant = variants.get("local_monotonic", distance=1)
    state, rows = variant.start({}, 2, 5, **SIZES), []
    assert state["keys"].shape == (2, 2, 2, 8) and state["values"].shape == (2, 2, 2, 6)
    step = jax.jit(lambda *arguments: variant.step({}, *arguments))
    for n in range(5):
        state, out = step(state, *(x[:, n] for x in qkv))
        rows.append(out)
    expected = jax.jit(lambda *qkv: variant.attend({}, *qkv, Options(mask=masks.causal)))(*qkv)
    np.testing.assert_allclose(jnp.stack(rows, 1), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_each_look_at_another_sequence_is_one_position_further(qkv):
    variant = variants.get("local_monotonic", distance=1)
    q, k, v = qkv
    visible = jnp.array([[True, False, True, True, True], [True, True, True, True, False]])
    state, rows = variant.start({}, 2, 5, **SIZES), []
    align = jax.jit(lambda state, q: variant.cross_step({}, state, q, k, v, visible=visible))
    for n in range(5):
        state, out = align(state, q[:, n])
        rows.append(out)
    shown = masks.keys(visible)
    expected = jax.jit(lambda *qkv: variant.attend({}, *qkv, Options(mask=shown)))(*qkv)
    np.testing.assert_allclose(jnp.stack(rows, 1), expected, rtol=1e-5, atol=1e-6)


def test_a_window_reaches_to_its_sides():
    with pytest.raises(ValueError, match="`distance` must be a whole number of at least 1; got 0"):
        variants.get("local_monotonic", distance=0)
