import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(table, q, k, v, visible):
    """Section 4 of arXiv:2405.18719; a key that is not visible is not there."""
    table, q, k, v = (np.asarray(x, np.float64) for x in (table, q, k, v))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(q.shape[:-1]):
        seen = [j for j in range(t + 1) if visible[b, j]]
        if not seen:
            continue
        scores = k[b, seen, h // 2] @ q[b, t, h] / np.sqrt(q.shape[-1])
        gates = 1 / (1 + np.exp(-scores))
        logits = np.zeros(len(seen))
        for n in range(len(seen)):
            count = min(gates[n:].sum(), len(table) - 1)
            low, high = int(np.floor(count)), int(np.ceil(count))
            between = (count - low) * table[high] + (1 - (count - low)) * table[low]
            logits[n] = scores[n] + q[b, t, h] @ between
        weights = np.exp(logits)
        out[b, t, h] = weights @ v[b, seen, h // 2] / weights.sum()
    return out


PADDING = np.array([[False, True, True, False, True], [True, True, True, True, True]])


# With 2 learned vectors most counts lie beyond the last.
@pytest.mark.sampled(2)
@pytest.mark.parametrize("positions", [1, 2, 64])
@pytest.mark.parametrize("padded", [False, True])
def test_matches_its_equations(qkv, draw, positions, padded):
    variant, table = variants.get("contextual", positions=positions), draw(positions, 8)
    visible = PADDING if padded else np.ones_like(PADDING)
    mask = masks.causal & masks.keys(jnp.asarray(visible))
    got = jax.jit(lambda *qkv: variant.attend({"table": table}, *qkv, Options(mask=mask)))(*qkv)
    np.testing.assert_allclose(got, oracle(table, *qkv, visible), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_it_starts_as_scaled_dot(qkv):
    variant = variants.get("contextual")
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    assert params["table"].shape == (64, 8)
    got = jax.jit(lambda *qkv: variant.attend(params, *qkv, Options(mask=masks.causal)))(*qkv)
    scaled_dot = variants.get("scaled_dot")
    expected = jax.jit(lambda *qkv: scaled_dot.attend({}, *qkv, Options(mask=masks.causal)))(*qkv)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_hidden_key_that_is_not_finite_leaves_the_counts_their_gradients(qkv, draw):
    variant, params = variants.get("contextual"), {"table": draw(64, 8)}
    q, k, v = qkv
    seen = masks.causal & masks.Mask(lambda b, h, i, j: j != 2)

    @jax.jit
    @jax.grad
    def gradient(params, k, v):
        return (variant.attend(params, q, k, v, Options(mask=seen)) ** 2).sum()

    got = gradient(params, k.at[:, 2].set(jnp.nan), v.at[:, 2].set(jnp.inf))
    jax.tree.map(np.testing.assert_array_equal, got, gradient(params, k, v))


def test_what_it_cannot_give_is_refused(qkv):
    with pytest.raises(ValueError, match="`positions` must be a whole number of at least 1; got 0"):
        variants.get("contextual", positions=0)
    variant = variants.get("contextual")
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    with pytest.raises(ValueError, match="`mask` must hold `masks.causal`; got one without"):
        variant.attend(params, *qkv, Options(mask=masks.sliding_window(2)))
    with pytest.raises(ValueError, match="`return_lse` needs .*; got contextual"):
        variant.attend(params, *qkv, Options(mask=masks.causal, return_lse=True))
