import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(qkv, causal):
    """The two equations of arXiv:2603.09078."""
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(out.shape[:-1]):
        seen, own = t + 1 if causal else k.shape[1], v[b, t, h // 2]
        weights = np.exp(k[b, :seen, h // 2] @ q[b, t, h] / np.sqrt(8))
        y = weights @ v[b, :seen, h // 2] / weights.sum()
        out[b, t, h] = y - (y @ own) * own / (own @ own)
    return out


@pytest.mark.parametrize("causal", [False, True])
def test_matches_its_equations(qkv, causal):
    mask = masks.causal if causal else None
    got = jax.jit(lambda *x: variants.get("exclusive").attend({}, *x, Options(mask=mask)))(*qkv)
    np.testing.assert_allclose(got, oracle(qkv, causal), rtol=1e-5, atol=1e-6)
    own = np.repeat(qkv[2], 2, axis=2)
    np.testing.assert_allclose((got * own).sum(-1), np.zeros(got.shape[:-1]), atol=1e-5)


def test_the_first_of_a_causal_pass_has_nothing_to_say(qkv):
    attend = jax.jit(lambda *x: variants.get("exclusive").attend({}, *x, Options(masks.causal)))
    np.testing.assert_allclose(attend(*qkv)[:, 0], np.zeros((2, 4, 6)), atol=1e-6)


@pytest.mark.slow
def test_a_hidden_value_is_taken_out_of_nothing(qkv):
    """Not even where it is not finite."""
    q, k, v = qkv
    visible = masks.keys(jnp.ones((2, 5), bool).at[:, 4].set(False))
    exclusive, plain = (
        jax.jit(lambda *x, name=name: variants.get(name).attend({}, *x, Options(visible)))
        for name in ("exclusive", "scaled_dot")
    )
    got = exclusive(q, k, v)
    np.testing.assert_allclose(got[:, 4], plain(q, k, v)[:, 4], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(exclusive(q, k, v.at[:, 4].set(jnp.inf)), got)


@pytest.mark.slow
def test_the_log_sum_exp_is_that_of_the_softmax(qkv):
    exclusive, plain = (variants.get(name).attend for name in ("exclusive", "scaled_dot"))
    out, lse = jax.jit(lambda *x: exclusive({}, *x, Options(return_lse=True)))(*qkv)
    _, expected = jax.jit(lambda *x: plain({}, *x, Options(return_lse=True)))(*qkv)
    np.testing.assert_allclose(lse, expected, rtol=1e-6)
    np.testing.assert_allclose(out, jax.jit(exclusive)({}, *qkv), rtol=1e-6)


def test_queries_beyond_the_keys_are_refused(qkv):
    q, k, v = qkv
    with pytest.raises(ValueError, match="exclusive must stand within .* to 5 and keys to 4"):
        variants.get("exclusive").attend({}, q, k, v, Options(query_offset=1))
