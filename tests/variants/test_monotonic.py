import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options

SIZES = {"heads": 4, "kv_heads": 2, "head_width": 8}
PADDED = jnp.array([[True, True, False, True, True], [False, True, True, True, True]])


def learned(draw):
    params = variants.get("monotonic").init(jax.random.key(0), **SIZES)
    return params | {"b": draw(8), "g": jnp.float32(2.0), "r": jnp.float32(-0.3)}


def energy(params, query, key):
    """The modified energy of arXiv:1704.00784, section 2.4."""
    hidden = np.tanh(params["w_q"] @ query + params["w_k"] @ key + params["b"])
    return params["g"] * params["w"] @ hidden / np.linalg.norm(params["w"]) + params["r"]


def oracle(params, q, k, v, visible, noise=None):
    """Equations 11 to 14: the expectation, in training."""
    params = {name: np.asarray(x, np.float64) for name, x in params.items()}
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        last = np.eye(k.shape[1])[0]
        for t in range(q.shape[1]):
            come, stop_before, weights = 0.0, 0.0, np.zeros(k.shape[1])
            for j in range(k.shape[1]):
                at = energy(params, q[b, t, h], k[b, j, h // 2])
                at += 0 if noise is None else noise[t, b, h, j]
                stop = visible[b, j] / (1 + np.exp(-at))
                come = (1 - stop_before) * come + last[j]
                weights[j], stop_before = stop * come, stop
            last, out[b, t, h] = weights, weights @ v[b, :, h // 2]
    return out


def greedy(params, q, k, v, visible):
    """Section 2.2: each query walks on from where the last one stopped, and reads one key."""
    params = {name: np.asarray(x, np.float64) for name, x in params.items()}
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        place = 0
        for t in range(q.shape[1]):
            while place < k.shape[1] and not (
                visible[b, place] and energy(params, q[b, t, h], k[b, place, h // 2]) > 0
            ):
                place += 1
            if place < k.shape[1]:
                out[b, t, h] = v[b, place, h // 2]
    return out


def run(params, qkv, variant=None, **request):
    variant = variant or variants.get("monotonic")
    return jax.jit(
        lambda *x: variant.attend(params, *x, Options(mask=masks.keys(PADDED), **request))
    )(*qkv)


@pytest.mark.slow
def test_without_noise_it_is_the_expectation(qkv, draw):
    params = learned(draw)
    got = run(params, qkv, variants.get("monotonic", hard=False))
    np.testing.assert_allclose(got, oracle(params, *qkv, np.asarray(PADDED)), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_in_training_noise_is_added_to_the_energies(qkv, draw):
    params, key = learned(draw), jax.random.key(3)
    got = run(params, qkv, variants.get("monotonic", noise=2.0), dropout_key=key)
    keys = jax.random.split(jax.random.split(key)[0], 5)
    noise = np.stack([jax.random.normal(own, (2, 4, 5)) for own in keys])
    expected = oracle(params, *qkv, np.asarray(PADDED), 2.0 * noise)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_after_training_a_query_reads_the_first_key_that_stops_it(qkv, draw):
    params = learned(draw)
    expected = greedy(params, *qkv, np.asarray(PADDED))
    rows = expected.any(-1)
    assert rows.any() and not rows.all()
    np.testing.assert_allclose(run(params, qkv), expected, rtol=1e-6)


@pytest.mark.slow
def test_a_sure_walk_is_the_same_hard_or_not(qkv, draw):
    params = learned(draw) | {"g": jnp.float32(3e3), "r": jnp.float32(0.0)}
    soft = run(params, qkv, variants.get("monotonic", hard=False))
    np.testing.assert_allclose(soft, run(params, qkv), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "`width` must be a whole number of at least 1; got 0"),
        ({"noise": -1.0}, "`noise` must be at least 0; got -1.0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        variants.get("monotonic", **options)
