import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options

SIZES = {"heads": 4, "kv_heads": 2, "head_width": 8}
PADDED = jnp.array([[True, True, False, True, True], [False, True, True, True, False]])


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def softplus(x):
    return np.log(1 + np.exp(x))


def oracle(params, q, k, v, visible, reach):
    """Equations 5 to 9 of arXiv:1410.5401, on the visible keys alone."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        keys, values = k[b, visible[b], h // 2], v[b, visible[b], h // 2]
        last = np.zeros(len(keys))
        for t in range(q.shape[1]):
            strength, gate, shift, sharpness = (
                q[b, t, h] @ params[name]["w"][h] + params[name]["b"][h]
                for name in ("strength", "gate", "shift", "sharpness")
            )
            norms = np.linalg.norm(keys, axis=-1) * np.linalg.norm(q[b, t, h])
            content = softmax(softplus(strength) * (keys @ q[b, t, h]) / norms)
            gate = 1 / (1 + np.exp(-gate))
            mixed = gate * content + (1 - gate) * last
            moved = np.zeros(len(keys))
            for j in range(len(keys)):
                for step, share in zip(range(-reach, reach + 1), softmax(shift), strict=True):
                    moved[j] += share * mixed[(j - step) % len(keys)]
            powers = moved ** (1 + softplus(sharpness))
            last = powers / powers.sum()
            out[b, t, h] = last @ values
    return out


@pytest.mark.sampled(1)
@pytest.mark.parametrize("reach", [1, 2, 7])
def test_matches_equations_5_to_9(qkv, reach):
    variant = variants.get("neural_turing", reach=reach)
    params = jax.tree.map(lambda x: x + 0.2, variant.init(jax.random.key(0), **SIZES))
    got = jax.jit(lambda *x: variant.attend(params, *x, Options(mask=masks.keys(PADDED))))(*qkv)
    expected = oracle(params, *qkv, np.asarray(PADDED), reach)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_closed_gate_and_a_sure_shift_go_one_key_on_at_each_query(qkv):
    variant = variants.get("neural_turing")
    params = jax.tree.map(jnp.zeros_like, variant.init(jax.random.key(0), **SIZES))
    steps = jnp.zeros((4, 3)).at[:, 2].set(60.0)
    # Closed but for the first query, before which there is nothing to go on from.
    closed, open_ = jnp.full((4, 1), -60.0), jnp.full((4, 1), 60.0)
    params["shift"] |= {"b": steps}
    params["gate"] |= {"b": closed}
    params["strength"] |= {"b": open_ * 10}
    q, k, _ = qkv
    units = jnp.broadcast_to(jnp.eye(5)[None, :, None], (2, 5, 2, 5))
    weights = jax.jit(variant.attend)(params, q, k, units)
    first = weights[:, 0].argmax(-1)
    for t in range(5):
        np.testing.assert_array_equal(weights[:, t].argmax(-1), (first + t) % 5)
    # Sharpened at each step, what there was of other keys is gone.
    assert (weights[:, -1].max(-1) > 0.999).all()


def test_a_step_needs_a_reach():
    with pytest.raises(ValueError, match="`reach` must be a whole number of at least 1; got 0"):
        variants.get("neural_turing", reach=0)
