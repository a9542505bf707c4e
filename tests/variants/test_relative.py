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


# With values, an implementation is asked of the plain calls among the parts, of few pairs too.
WAYS = {"at once": None, "in parts": "blockwise"}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(
    ("values", "way"), [(True, "at once"), (True, "in parts"), (False, "in parts")]
)
@pytest.mark.parametrize("most", [1, 2, 16])
def test_matches_its_equations(qkv, draw, most, values, way, mask):
    variant = variants.get("relative", max_distance=most, values=values)
    params, (mask, seen_by) = draw_params(draw, most, values), MASKS[mask]
    options = Options(mask=mask, query_offset=2, implementation=WAYS[way])
    run = jax.jit(lambda *qkv: variant.attend(params, *qkv, options))
    expected = oracle(params, *qkv, most, seen_by)
    np.testing.assert_allclose(run(*qkv), expected, rtol=1e-5, atol=1e-6)


def test_it_gives_the_log_sum_exp_of_its_logits(qkv, draw):
    """Values have no part in it, so it is that of the variant without theirs."""
    params, options = draw_params(draw, 2), Options(masks.causal, query_offset=2, return_lse=True)
    with_values, without = (
        variants.get("relative", max_distance=2, values=x) for x in (True, False)
    )
    parts = options._replace(implementation="reference")
    calls = (with_values, options), (with_values, parts), (without, options)
    run = jax.jit(lambda *qkv: [x.attend(params, *qkv, options)[1] for x, options in calls])
    at_once, in_parts, expected = run(*qkv)
    np.testing.assert_allclose(at_once, expected, rtol=1e-5)
    np.testing.assert_allclose(in_parts, expected, rtol=1e-5)


@pytest.mark.slow
def test_parts_of_several_blocks_have_the_derivatives_of_all_weights_at_once(draw):
    """With a hidden row, a window, and keys that lie elsewhere."""
    variant, params = variants.get("relative", max_distance=5), draw_params(draw, 5)
    q, k, v = draw(1, 75, 2, 8), draw(1, 90, 1, 8), draw(1, 90, 1, 6)
    mask = masks.sliding_window(40) & masks.Mask(lambda b, h, i, j: (i != 7) & (j % 11 != 3))

    def run(way):
        options = Options(mask, 4, 1, implementation=way)
        loss = lambda *x: jnp.sin(variant.attend(*x, options)).sum()  # noqa: E731
        return jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3)))(params, q, k, v)

    for got, expected in zip(*map(jax.tree.leaves, (run("blockwise"), run(None))), strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("most", [2, 16])
def test_a_dropped_weight_drops_the_distance_of_its_value(qkv, draw, most, way):
    variant, params = variants.get("relative", max_distance=most), draw_params(draw, most)
    key = jax.random.key(3)
    random = {"dropout_rate": 0.4, "dropout_key": key, "implementation": WAYS[way]}
    got = jax.jit(lambda *qkv: variant.attend(params, *qkv, Options(query_offset=2, **random)))(
        *qkv
    )
    at = jnp.ix_(jnp.arange(2), jnp.arange(4), 2 + jnp.arange(5), jnp.arange(5))
    kept = np.asarray(numerics.kept_pairs(key, 0.4, at)) / 0.6
    expected = oracle(params, *qkv, most, lambda t: np.ones(5), kept)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("most", [2, 16])
def test_what_is_not_finite_reaches_only_those_that_see_it(qkv, draw, most, way):
    variant, params = variants.get("relative", max_distance=most), draw_params(draw, most)
    options, (q, k, v) = Options(masks.causal, implementation=WAYS[way]), qkv
    spoiled = k.at[:, 3].set(jnp.inf), v.at[:, 4].set(jnp.nan)
    out = jax.jit(lambda k, v: variant.attend(params, q, k, v, options))(*spoiled)
    np.testing.assert_array_equal(np.isnan(out).all((0, 2, 3)), [0, 0, 0, 1, 1])

    @jax.jit
    @jax.grad
    def gradient(params, k, v):
        seen = masks.Mask(lambda b, h, i, j: j < 3)
        return (variant.attend(params, q, k, v, options._replace(mask=seen)) ** 2).sum()

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
