import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from tests.support import pieces


def oracle(q, k, v, size, blocks, shown=None):
    """Equations 2 to 7 of arXiv:2502.13189, one query after another."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    shown = np.ones(k.shape[:2], bool) if shown is None else shown
    for b, i, h in np.ndindex(*q.shape[:3]):
        g, own = h * k.shape[2] // q.shape[2], i // size
        gates = {}
        for n in range(own):
            of_block = [j for j in range(n * size, (n + 1) * size) if shown[b, j]]
            if of_block:
                gates[n] = q[b, i, h] @ k[b, of_block, g].mean(0)
        chosen = {own, *sorted(gates, key=gates.__getitem__, reverse=True)[: blocks - 1]}
        keys = [j for j in range(i + 1) if j // size in chosen and shown[b, j]]
        weights = np.exp(k[b, keys, g] @ q[b, i, h] / np.sqrt(q.shape[-1]))
        out[b, i, h] = weights / weights.sum() @ v[b, keys, g]
    return out


def run(variant, mask=masks.causal, **options):
    return jax.jit(lambda *qkv: variant.attend({}, *qkv, Options(mask, **options)))


@pytest.mark.parametrize(("size", "blocks"), [(4, 3), (5, 1), (64, 4)])
def test_matches_the_equations(draw, size, blocks):
    qkv = draw(2, 23, 4, 8), draw(2, 23, 2, 8), draw(2, 23, 2, 6)
    out = run(variants.get("moba", size=size, blocks=blocks))(*qkv)
    np.testing.assert_allclose(out, oracle(*qkv, size, blocks), rtol=1e-5, atol=1e-6)


def test_hidden_keys_have_no_part_in_means(draw):
    qkv = draw(1, 23, 4, 8), draw(1, 23, 2, 8), draw(1, 23, 2, 6)
    shown = np.ones((1, 23), bool)
    shown[:, [2, 3, 4, 5, 6, 7, 13]] = False  # the second block as a whole
    mask = masks.causal & masks.keys(shown)
    out = run(variants.get("moba", size=4, blocks=2), mask)(*qkv)
    np.testing.assert_allclose(out, oracle(*qkv, 4, 2, shown), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_one_query_reads_a_cache(draw):
    q, k, v = draw(1, 23, 4, 8), draw(1, 23, 2, 8), draw(1, 23, 2, 6)
    variant = variants.get("moba", size=4, blocks=2)
    whole = run(variant)(q, k, v)
    for i in (0, 11, 22):
        one = run(variant, query_offset=i)(q[:, i : i + 1], k, v)
        np.testing.assert_allclose(one[:, 0], whole[:, i], rtol=1e-5, atol=1e-6)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("size", "blocks"), [(4, 3), (5, 1)])
def test_pieces_and_steps_match_the_equations(draw, size, blocks):
    """Where two sequences are at positions of their own."""
    x, qkv = pieces.inputs(draw, 27)
    variant = variants.get("moba", size=size, blocks=blocks)
    got = pieces.in_pieces(variant, {}, x, qkv, (3, 4, 5, 18, 26))
    expected = oracle(*qkv, size, blocks)
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[1, :-3], expected[1, :-3], rtol=1e-5, atol=1e-6)


def test_a_state_without_room_is_told(draw):
    variant = variants.get("moba", size=4)
    sizes = pieces.SIZES | {"value_width": 6, "dtype": np.float32}
    state, (_, qkv) = variant.start({}, 2, 5, **sizes), pieces.inputs(draw, 6)
    with pytest.raises(ValueError, match="A step at position 5 finds no room"):
        variant.extend({}, state, *qkv)
    out = jax.jit(variant.extend)({}, state, *qkv)[1]
    np.testing.assert_array_equal(np.isnan(out).all((0, 2, 3)), [False] * 5 + [True])
    with pytest.raises(ValueError, match="`visible` must be None for moba"):
        variant.extend({}, state, *qkv, visible=jax.numpy.ones((2, 6), bool))
