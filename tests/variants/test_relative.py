import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks, numerics
from attention_jax.core.types import Options


def oracle(params, q, k, v, most, seen_by, kept=None):
    """Equations 3 and 4 of arXiv:1803.02155; the queries start 2 positions after the keys."""
    params = {name: np.asarray(x, np.float64) for name, x in params.items()}
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(q.shape[:-1]):
        keys, values = k[b, :, h // 2].copy(), v[b, :, h // 2].copy()
        for j in range(len(keys)):
            # The paper's a_{clip(j - i)}: the last row stands for the keys furthest before.
            row = most - min(max(j - (t + 2), -most), most)
            keys[j] += params["key"][row]
            if "value" in params:
                values[j] += params["value"][row, : v.shape[-1]]
        weights = np.exp(keys @ q[b, t, h] / np.sqrt(q.shape[-1])) * seen_by(t)
        weights /= weights.sum()
        out[b, t, h] = (weights if kept is None else weights * kept[b, h, t]) @ values
    return out


def draw_params(draw, most, values=True):
    names = ("key", "value") if values else ("key",)
    return {name: draw(2 * most + 1, 8) for name in names}


MASKS = {
    "all": (None, lambda t: np.ones(5)),
    "causal": (masks.causal, lambda t: np.arange(5) <= t + 2),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("values", [True, False])
@pytest.mark.parametrize("most", [2, 16])
def test_matches_its_equations(qkv, draw, most, values, mask):
    variant = variants.get("relative", max_distance=most, values=values)
    params, (mask, seen_by) = draw_params(draw, most, values), MASKS[mask]
    run = jax.jit(lambda *qkv: variant.attend(params, *qkv, Options(mask=mask, query_offset=2)))
    expected = oracle(params, *qkv, most, seen_by)
    np.testing.assert_allclose(run(*qkv), expected, rtol=1e-5, atol=1e-6)


def test_it_gives_the_log_sum_exp_of_its_logits(qkv, draw):
    """Values have no part in it, so it is that of the variant without theirs."""
    params, options = draw_params(draw, 2), Options(masks.causal, query_offset=2, return_lse=True)
    both = [variants.get("relative", max_distance=2, values=values) for values in (True, False)]
    run = jax.jit(lambda *qkv: [x.attend(params, *qkv, options)[1] for x in both])
    got, expected = run(*qkv)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.slow
def test_a_dropped_weight_drops_the_distance_of_its_value(qkv, draw):
    variant, params, key = variants.get("relative"), draw_params(draw, 16), jax.random.key(3)
    random = {"dropout_rate": 0.4, "dropout_key": key}
    got = jax.jit(lambda *qkv: variant.attend(params, *qkv, Options(query_offset=2, **random)))(
        *qkv
    )
    at = jnp.ix_(jnp.arange(2), jnp.arange(4), 2 + jnp.arange(5), jnp.arange(5))
    kept = np.asarray(numerics.kept_pairs(key, 0.4, at)) / 0.6
    expected = oracle(params, *qkv, 16, lambda t: np.ones(5), kept)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_what_is_not_finite_reaches_only_those_that_see_it(qkv, draw):
    variant, params, (q, k, v) = variants.get("relative"), draw_params(draw, 16), qkv
    spoiled = k.at[:, 3].set(jnp.inf), v.at[:, 4].set(jnp.nan)
    out = jax.jit(lambda k, v: variant.attend(params, q, k, v, Options(mask=masks.causal)))(
        *spoiled
    )
    np.testing.assert_array_equal(np.isnan(out).all((0, 2, 3)), [0, 0, 0, 1, 1])

    @jax.jit
    @jax.grad
    def gradient(params, k, v):
        seen = masks.Mask(lambda b, h, i, j: j < 3)
        return (variant.attend(params, q, k, v, Options(mask=seen)) ** 2).sum()

    got = gradient(params, *spoiled)
    jax.tree.map(np.testing.assert_array_equal, got, gradient(params, k, v))


def test_what_it_cannot_give_is_refused(qkv, draw, users_errors):
    with pytest.raises(ValueError, match="`max_distance` must be a whole number of at least 1"):
        variants.get("relative", max_distance=0)
    with pytest.raises(ValueError, match="`values` must be True or False .*; got 'both'"):
        variants.get("relative", values="both")
    q, k, _ = qkv
    with pytest.raises(ValueError, match="`value` must be at most as wide as a head; got 9 and 8"):
        variants.get("relative").attend(draw_params(draw, 16), q, k, draw(2, 5, 2, 9))
    with pytest.raises(ValueError, match="`dropout_key` must be given"):
        variants.get("relative").attend(draw_params(draw, 16), *qkv, Options(dropout_rate=0.1))
