import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention, variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def made(**options):
    variant = variants.get("latent", **options)
    return variant, variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)


def rotated(x, position):
    """Each pair of channels, by the position over powers of 10,000."""
    out = np.array(x)
    for c in range(0, x.shape[-1], 2):
        angle = position / 10_000 ** (c / x.shape[-1])
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        out[..., c : c + 2] = x[..., c : c + 2] @ turn
    return out


def oracle(params, q, k, v, causal, normalize=True):
    """Equations 9 to 19 of arXiv:2405.04434: keys and values built again from the latents."""
    params = {name: np.asarray(x, np.float64) for name, x in params.items()}
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b in range(len(q)):
        latents, shared = np.zeros((k.shape[1], params["down_key"].shape[-1])), 0
        for h in range(q.shape[2]):
            at = h * k.shape[2] // q.shape[2]
            latents += k[b, :, at] @ params["down_key"][h]
            latents += v[b, :, at] @ params["down_value"][h][: v.shape[-1]]
            if "down_rotary" in params:
                shared = shared + k[b, :, at] @ params["down_rotary"][h]
        if normalize:
            latents /= np.sqrt((latents**2).mean(-1, keepdims=True) + 1e-5)
        for t, h in np.ndindex(q.shape[1:3]):
            seen = latents[: t + 1] if causal else latents
            keys, query = seen @ params["up_key"][h].T, q[b, t, h]
            if "down_query" in params:
                down = sum(q[b, t, n] @ params["down_query"][n] for n in range(q.shape[2]))
                query = params["up_query"][h] @ (down / np.sqrt((down**2).mean() + 1e-5))
            if "down_rotary" in params:
                turned = [rotated(shared[j], j) for j in range(len(seen))]
                keys, r = np.concatenate([keys, turned], -1), shared.shape[-1]
                query = np.concatenate([query[:-r], rotated(query[-r:], t)])
            values = seen @ params["up_value"][h].T[:, : v.shape[-1]]
            weights = np.exp(keys @ query / np.sqrt(q.shape[-1]))
            out[b, t, h] = weights @ values / weights.sum()
    return out


@pytest.mark.sampled(1)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"latent_width": 5, "rotary_width": 0},
        {"latent_width": 5},
        {"rotary_width": 4, "query_latent_width": 3},
        {"latent_width": 5, "rotary_width": 0, "normalize": False},
    ],
)
def test_matches_equations_9_to_19(qkv, causal, options):
    variant, params = made(**options)
    normalize = options.get("normalize", True)
    mask = masks.causal if causal else None
    got = jax.jit(lambda p, x: variant.attend(p, *x, Options(mask=mask)))(params, qkv)
    np.testing.assert_allclose(got, oracle(params, *qkv, causal, normalize), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_latent_that_holds_key_and_value_is_the_scaled_dot_product(draw):
    variant = variants.get("latent", latent_width=16, normalize=False, rotary_width=0)
    qkv = [draw(2, 5, 1, 8) for _ in range(3)]
    first, second = jnp.eye(16)[None, :8], jnp.eye(16)[None, 8:]
    params = {"down_key": first, "up_key": first, "down_value": second, "up_value": second}
    got, expected = jax.jit(lambda p, x: (variant.attend(p, *x), attention(*x)))(params, qkv)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_a_latent_is_as_wide_as_four_heads():
    _, params = made()
    assert params["up_key"].shape == (4, 6, 32)  # 2 of the 8 channels of a key are rotated


def test_only_the_latents_are_kept():
    variant, params = made(latent_width=5)
    sizes = {"heads": 4, "kv_heads": 2, "head_width": 8, "value_width": 6}
    state = variant.start(params, 3, 7, **sizes, dtype=jnp.bfloat16)
    assert [(x.shape, x.dtype) for x in state] == [((3, 7, 5 + 2), jnp.bfloat16), ((3,), jnp.int32)]


@pytest.mark.slow
def test_sequences_of_a_batch_may_stand_at_different_positions(qkv):
    variant, params = made(latent_width=5)
    sizes = {"heads": 4, "kv_heads": 2, "head_width": 8, "value_width": 6, "dtype": jnp.float32}
    step = jax.jit(lambda state, x: variant.step(params, state, *x))
    states = [variant.start(params, 2, 5, **sizes)]
    for n in range(3):
        states.append(step(states[-1], tuple(x[:, n] for x in qkv))[0])
    mixed = jax.tree.map(lambda a, b: jnp.stack([a[0], b[1]]), states[1], states[3])
    token = tuple(jnp.stack([x[0, 1], x[1, 3]]) for x in qkv)
    _, out = step(mixed, token)
    whole = jax.jit(lambda p, x: variant.attend(p, *x, Options(mask=masks.causal)))(params, qkv)
    expected = jnp.stack([whole[0, 1], whole[1, 3]])
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_hidden_key_that_is_not_finite_leaves_gradients_finite(qkv):
    variant, params = made(latent_width=5)
    q, k, v = qkv
    visible = jnp.ones((2, 5), bool).at[:, 2].set(False)

    def loss(params, *qkv):
        out = variant.attend(params, *qkv, Options(mask=masks.keys(visible)))
        return (out**2).sum(), out

    run = jax.jit(jax.grad(loss, (0, 1, 2, 3), has_aux=True))
    gradients, out = run(params, q, k.at[:, 2].set(jnp.nan), v.at[:, 2].set(jnp.inf))
    _, expected = run(params, *qkv)
    np.testing.assert_array_equal(out, expected)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(gradients))
    seen = jax.jit(lambda p, *x: variant.attend(p, *x, Options(mask=masks.causal)))
    rows = jnp.isnan(seen(params, q, k.at[:, 2].set(jnp.nan), v)).all((0, 2, 3))
    np.testing.assert_array_equal(rows, [False, False, True, True, True])


@pytest.mark.slow
def test_the_log_sum_comes_along(qkv):
    variant, params = made(latent_width=5)
    out, lse = jax.jit(lambda p, x: variant.attend(p, *x, Options(return_lse=True)))(params, qkv)
    assert out.shape == (2, 5, 4, 6) and lse.shape == (2, 5, 4)


def test_wide_values_and_bad_options_are_refused(draw):
    variant, params = made(latent_width=5)
    with pytest.raises(ValueError, match="may be as wide as keys at most.* got 9 and 8"):
        variant.attend(params, draw(1, 3, 4, 8), draw(1, 3, 2, 8), draw(1, 3, 2, 9))
    with pytest.raises(ValueError, match="`latent_width` must be a whole number of at least 1"):
        variants.get("latent", latent_width=0)
