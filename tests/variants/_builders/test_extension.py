"""States that take in several positions at once: first and last state of a causal pass."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import masks, variants
from attention_jax.core.types import Options
from attention_jax.variants._builders import channel_scan, chunked_scan

LENGTH = 11
SIZES = {"heads": 4, "kv_heads": 2, "head_width": 8}


def qkv(draw, length=LENGTH):
    return draw(2, length, 4, 8), draw(2, length, 2, 8), draw(2, length, 2, 6)


def begun(variant, dtype=jnp.float32):
    params = variant.init(jax.random.key(0), **SIZES)
    return params, variant.start(params, 2, LENGTH, **SIZES, value_width=6, dtype=dtype)


def test_the_last_state_is_the_sum_of_what_has_not_faded(draw):
    """S = sum_j exp(sum of later log-decays) k_j v_j^T, added to what is left of the first."""
    q, k, v = draw(2, 9, 2, 8), draw(2, 9, 2, 8), draw(2, 9, 2, 6)
    decay, start = -jnp.exp(draw(2, 9, 2, 8)), draw(2, 2, 8, 6)
    got, _ = chunked_scan.scan(q, k, v, decay, start=start, chunk=4)
    expected = np.zeros((2, 2, 8, 6))
    for b, h in np.ndindex(2, 2):
        own = np.asarray(start[b, h], np.float64)
        for j in range(9):
            own = np.exp(np.float64(decay[b, j, h]))[:, None] * own
            own = own + np.outer(k[b, j, h], v[b, j, h])
        expected[b, h] = own
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "scan, step",
    [
        (chunked_scan.delta_scan, chunked_scan.delta_step),
        (channel_scan.channel_scan, channel_scan.channel_step),
    ],
)
def test_the_last_state_is_that_after_steps(draw, scan, step):
    q, k, v = draw(2, 9, 2, 8), 0.3 * draw(2, 9, 2, 8), draw(2, 9, 2, 6)
    more = (jax.nn.sigmoid(draw(2, 9, 2)), -jnp.exp(draw(2, 9, 2)))
    if scan is channel_scan.channel_scan:
        more = (-jnp.exp(draw(2, 9, 2, 8)), k)
    start = state = draw(2, 2, 8, 6)
    got, _ = scan(q, k, v, *more, start=start, chunk=4)
    for j in range(9):
        state, _ = step(state, *(x[:, j] for x in (q, k, v, *more)))
    np.testing.assert_allclose(got, state, rtol=1e-5, atol=1e-5)


def test_what_is_not_finite_spoils_all_that_follows(draw):
    """In another piece too, as it does in one; heads of other keys stay as they are."""
    variant = variants.get("gated_linear")
    params, state = begun(variant)
    q, k, v = qkv(draw)
    spoiled = q, k.at[0, 3, 1].set(jnp.inf), v
    state, first = variant.extend(params, state, *(x[:, :5] for x in spoiled))
    _, last = variant.extend(params, state, *(x[:, 5:] for x in spoiled))
    bad = np.isnan(jnp.concatenate([first, last], axis=1)).any(-1)
    expected = np.zeros((2, LENGTH, 4), bool)
    expected[0, 3:, 2:] = True
    np.testing.assert_array_equal(bad, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "delta"])
def test_a_state_is_differentiated_through(draw, name):
    """The gradient of what the second piece gives reaches the first, as in one piece."""
    variant, inputs = variants.get(name), qkv(draw)
    params, state = begun(variant)
    target = draw(2, LENGTH, 4, 6)

    def pieces(inputs, cut):
        first, one = variant.extend(params, state, *(x[:, :cut] for x in inputs))
        _, other = variant.extend(params, first, *(x[:, cut:] for x in inputs))
        return (jnp.concatenate([one, other], axis=1) * target).sum()

    got = jax.jit(jax.grad(functools.partial(pieces, cut=4)))(inputs)
    whole = jax.jit(jax.grad(lambda x: (variant.extend(params, state, *x)[1] * target).sum()))
    for a, b in zip(got, whole(inputs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_no_positions_leave_a_state_as_it_is(draw):
    variant = variants.get("retention")
    params, state = begun(variant)
    after, out = variant.extend(params, state, *qkv(draw, 0))
    assert after is state and out.shape == (2, 0, 4, 6)


def test_a_sequence_beyond_the_longest_distance_is_refused(draw):
    variant = variants.get("cosformer", max_length=12)
    params, state = begun(variant)
    state, _ = variant.extend(params, state, *qkv(draw))
    with pytest.raises(ValueError, match="A step at position 21 finds no room"):
        variant.extend(params, state, *qkv(draw))
    out = jax.jit(variant.extend)(params, state, *qkv(draw))[1]
    assert np.isfinite(out[:, 0]).all() and np.isnan(out[:, 1:]).all()


def test_wrong_arguments_are_told_in_one_line(draw):
    variant = variants.get("delta")
    params, state = begun(variant)
    q, k, v = qkv(draw)
    for words, arrays, more in (
        ("`query` and `key` must be of the same positions", (q[:, 1:], k, v), {}),
        ("`visible` must be boolean, .2, 11.", (q, k, v), {"visible": jnp.ones((2, 3), bool)}),
        ("`visible` must be boolean", (q, k, v), {"visible": jnp.ones((2, LENGTH))}),
        ("`features` must be left out", (q, k, v), {"features": q}),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            variant.extend(params, state, *arrays, **more)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="`state` must be what `start` or the last step"):
        variant.extend(params, state._replace(sums=state.sums[..., :3]), q, k, v)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["local_monotonic(distance=2)", "latent"])
def test_kept_positions_are_extended_in_pieces(draw, name):
    """Shorter and longer than a window, by steps between them."""
    variant, inputs = variants.resolve(name), qkv(draw)
    params, state = begun(variant)
    found = []
    for first, end in ((0, 1), (1, 3), (3, 8), (9, LENGTH)):
        state, out = variant.extend(params, state, *(x[:, first:end] for x in inputs))
        found.append(out)
        if end == 8:
            state, out = variant.step(params, state, *(x[:, 8] for x in inputs))
            found.append(out[:, None])
    expected = variant.attend(params, *inputs, Options(masks.causal))
    np.testing.assert_allclose(jnp.concatenate(found, 1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_more_positions_than_there_is_room_for_are_refused_or_nan(draw):
    for name in ("latent", "local_monotonic(distance=20)"):
        variant = variants.resolve(name)
        params, state = begun(variant)
        state, _ = variant.extend(params, state, *qkv(draw, LENGTH - 2))
        with pytest.raises(ValueError, match=f"A step at position {LENGTH} finds no room"):
            variant.extend(params, state, *qkv(draw, 3))
        out = jax.jit(variant.extend)(params, state, *qkv(draw, 3))[1]
        np.testing.assert_array_equal(np.isnan(out).all((0, 2, 3)), [False, False, True])
        with pytest.raises(ValueError, match="`visible` must be None"):
            variant.extend(params, state, *qkv(draw, 1), visible=jnp.ones((2, 1), bool))
