import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options

SIZES = {"heads": 4, "kv_heads": 2, "head_width": 8}
PADDED = jnp.array([[True, True, False, True, True], [False, True, True, True, True]])


def learned(draw, **options):
    params = variants.get("mocha", **options).init(jax.random.key(0), **SIZES)
    own, chunk = params["walk"], params["chunk"]
    changed = own | {"b": draw(8), "g": jnp.float32(2.0)}
    return {"walk": changed, "chunk": chunk | {"b": draw(8), "w": 3 * chunk["w"]}}


def hidden(params, query, key):
    return np.tanh(params["w_q"] @ query + params["w_k"] @ key + params["b"])


def oracle(params, q, k, v, visible, chunk, hard):
    """Section 2.3 of arXiv:1712.05382, with sums over chunks as they are written."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    own = params["walk"]
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out, s = np.zeros((*q.shape[:-1], v.shape[-1])), k.shape[1]
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        places = np.eye(s)[0]
        for t in range(q.shape[1]):
            come, stop_before, new = 0.0, 0.0, np.zeros(s)
            powers = np.zeros(s)
            for j in range(s):
                query, key = q[b, t, h], k[b, j, h // 2]
                at = own["g"] * own["w"] @ hidden(own, query, key) / np.linalg.norm(own["w"])
                stop = float(at + own["r"] > 0) if hard else 1 / (1 + np.exp(-at - own["r"]))
                stop *= visible[b, j]
                come = (1 - stop_before) * come + places[j]
                new[j], stop_before = stop * come, stop
                scored = params["chunk"]["w"] @ hidden(params["chunk"], query, key)
                powers[j] = np.exp(scored) * visible[b, j]
            places, weights = new, np.zeros(s)
            for j in range(s):
                for n in range(j, min(j + chunk, s)):
                    total = powers[max(n - chunk + 1, 0) : n + 1].sum()
                    weights[j] += places[n] * powers[j] / total if places[n] else 0
            out[b, t, h] = weights @ v[b, :, h // 2]
    return out


@pytest.mark.sampled(1)
@pytest.mark.parametrize("chunk", [2, 3, 9])
@pytest.mark.parametrize("hard", [True, False])
def test_matches_its_equations(qkv, draw, chunk, hard):
    params = learned(draw)
    variant = variants.get("mocha", chunk=chunk, hard=hard)
    got = jax.jit(lambda *x: variant.attend(params, *x, Options(mask=masks.keys(PADDED))))(*qkv)
    expected = oracle(params, *qkv, np.asarray(PADDED), chunk, hard)
    assert expected.any(-1).sum() > 10
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("noisy", [True, False])
def test_a_chunk_of_one_is_monotonic_attention(qkv, draw, noisy):
    params, key = learned(draw), jax.random.key(1) if noisy else None
    walk = variants.get("monotonic").attend
    mocha, options = variants.get("mocha", chunk=1).attend, Options(dropout_key=key)
    got = jax.jit(lambda *x: mocha(params, *x, options))(*qkv)
    expected = jax.jit(lambda *x: walk(params["walk"], *x, options))(*qkv)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_scores_far_apart_leave_no_chunk_empty(qkv, draw):
    params = learned(draw)
    params["chunk"] |= {"w": 1e4 * params["chunk"]["w"]}
    variant = variants.get("mocha", hard=False)
    units = jnp.broadcast_to(jnp.eye(5)[None, :, None], (2, 5, 2, 5))
    weights = jax.jit(variant.attend)(params, *qkv[:2], units)
    alone = jax.jit(variants.get("monotonic", hard=False).attend)(params["walk"], *qkv[:2], units)
    np.testing.assert_allclose(weights.sum(-1), alone.sum(-1), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk": 0}, "`chunk` must be a whole number of at least 1; got 0"),
        ({"width": 0}, "`width` must be a whole number of at least 1; got 0"),
        ({"noise": -1.0}, "`noise` must be at least 0; got -1.0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        variants.get("mocha", **options)
