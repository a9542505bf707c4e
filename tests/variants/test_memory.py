import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options

MEMORY = variants.get("memory", slots=3)


@pytest.mark.parametrize("causal", [False, True])
def test_matches_its_equation(qkv, draw, causal):
    slots, mask = {"key": draw(3, 2, 8), "value": draw(3, 2, 8)}, masks.causal if causal else None
    got = jax.jit(lambda *x: MEMORY.attend(*x, Options(mask=mask)))(slots, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    of_keys, of_values = (np.asarray(slots[name], np.float64) for name in ("key", "value"))
    for b, t, h in np.ndindex(got.shape[:-1]):
        g, seen = h // 2, t + 1 if causal else 5
        weights = np.exp(np.r_[k[b, :seen, g], of_keys[:, g]] @ q[b, t, h] / np.sqrt(8))
        # Slots are as wide as a head, values have 6 channels.
        expected = weights @ np.r_[v[b, :seen, g], of_values[:, g, :6]] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_every_key_and_value_head_has_its_slots():
    params = variants.get("memory").init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    assert {name: x.shape for name, x in params.items()} == {"key": (64, 2, 8), "value": (64, 2, 8)}
    assert (params["key"] != params["value"]).all()


@pytest.mark.slow
def test_dropout_reaches_input_and_memory(qkv, draw):
    q, k, v = qkv
    # Equal scores: each of 8 weights is 1 / 8, or 0, or 2 / 8.
    slots = {"key": jnp.zeros((3, 2, 8)), "value": jnp.zeros((3, 2, 8))}
    units = jnp.broadcast_to(jnp.eye(5, 8)[None, :, None], (2, 5, 2, 8))
    slots["value"] = jnp.broadcast_to(jnp.eye(8)[5:, None], (3, 2, 8))
    drop = {"dropout_rate": 0.5, "dropout_key": jax.random.key(0)}
    run = jax.jit(lambda: MEMORY.attend(slots, q, 0 * k, units, Options(**drop)))
    weights = np.asarray(run())
    np.testing.assert_allclose(np.unique(weights.round(6)), [0, 0.25])
    for part in (weights[..., :5], weights[..., 5:]):
        assert 0.3 < (part > 0).mean() < 0.7


def test_what_it_cannot_hold_is_refused(qkv, draw):
    q, k, _ = qkv
    slots = {"key": draw(3, 2, 8), "value": draw(3, 2, 8)}
    with pytest.raises(ValueError, match="`value` must be at most as wide.*got 9 and 8.*Project"):
        MEMORY.attend(slots, q, k, draw(2, 5, 2, 9))
    with pytest.raises(ValueError, match="`slots` must be a whole number of at least 1; got 0"):
        variants.get("memory", slots=0)
    with pytest.raises(ValueError, match="`dropout_key` must be given"):
        MEMORY.attend(slots, *qkv, Options(dropout_rate=0.5))
