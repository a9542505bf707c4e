import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def place(distance, most):
    """Equation 3 of arXiv:2006.03654."""
    if distance <= -most:
        return 0
    return 2 * most - 1 if distance >= most else distance + most


@pytest.mark.parametrize("most", [2, 8])
def test_matches_its_equation(qkv, draw, most):
    variant = variants.get("disentangled", max_distance=most)
    params = {"key": draw(2 * most, 4, 8), "query": draw(2 * most, 4, 8)}
    run = jax.jit(lambda *qkv: variant.attend(params, *qkv, Options(query_offset=3, key_offset=2)))
    got = run(*qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    of_key, of_query = (np.asarray(params[name], np.float64) for name in ("key", "query"))
    for b, t, h in np.ndindex(got.shape[:-1]):
        scores = np.zeros(5)
        for j in range(5):
            query, key, i = q[b, t, h], k[b, j, h // 2], t + 1
            scores[j] = query @ key
            scores[j] += query @ of_key[place(i - j, most), h]
            scores[j] += key @ of_query[place(j - i, most), h]
        weights = np.exp(scores / np.sqrt(3 * 8))
        expected = weights @ v[b, :, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_blocks_and_one_tile_agree_in_their_gradients(draw):
    variant = variants.get("disentangled", max_distance=3)
    params = {"key": draw(6, 4, 8), "query": draw(6, 4, 8)}
    qkv = draw(1, 70, 4, 8), draw(1, 70, 2, 8), draw(1, 70, 2, 6)

    def gradient(implementation):
        def loss(params, qkv):
            out = variant.attend(
                params, *qkv, Options(mask=masks.causal, implementation=implementation)
            )
            return (out**2).mean()

        return jax.jit(jax.grad(loss, (0, 1)))(params, qkv)

    for got, expected in zip(
        jax.tree.leaves(gradient("blockwise")), jax.tree.leaves(gradient("reference")), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_each_head_has_a_vector_for_each_distance():
    params = variants.get("disentangled").init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    assert params["key"].shape == params["query"].shape == (1024, 4, 8)


def test_a_distance_must_be_told_apart():
    with pytest.raises(ValueError, match="`max_distance` must be a whole number of at least 1"):
        variants.get("disentangled", max_distance=0)
