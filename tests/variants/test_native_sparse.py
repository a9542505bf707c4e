import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from tests.support import pieces

SIZES = {"summary": 4, "stride": 2, "size": 4, "blocks": 4, "window": 5}


def softmax(x):
    x = np.exp(x - x.max())
    return x / x.sum()


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def summaries(own, x, shown, summary, stride):
    """Equations 7 of arXiv:2502.11089, for the positions of one head."""
    found, width = [], x.shape[-1]
    for start in range(0, len(x) - summary + 1, stride):
        hidden = np.zeros(own["w_1"].shape[-1])
        for n in range(summary):
            if shown[start + n]:
                hidden += (x[start + n] + own["place"][n, :width]) @ own["w_1"][n, :width]
        found.append(gelu(hidden) @ own["w_2"][:, :width])
    return np.array(found)


def oracle(params, x, q, k, v, shown, *, summary, stride, size, blocks, window):
    """Section 3.3, one query after another."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x, q, k, v = (np.asarray(a, np.float64) for a in (x, q, k, v))
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    r = q.shape[2] // k.shape[2]
    for b, g, i in np.ndindex(q.shape[0], k.shape[2], q.shape[1]):
        keys = summaries(params["key"], k[b, :, g], shown[b], summary, stride)
        values = summaries(params["value"], v[b, :, g], shown[b], summary, stride)
        over = [range(n * stride, n * stride + summary) for n in range(len(keys))]
        seen = [n for n in range(len(keys)) if over[n][-1] <= i and shown[b, over[n]].any()]
        scale, heads = 1 / np.sqrt(q.shape[-1]), range(g * r, (g + 1) * r)
        of_block = np.zeros(i // size + 1)
        for h in heads:
            for n, p in zip(
                seen, softmax(keys[seen] @ q[b, i, h] * scale) if seen else [], strict=True
            ):
                for j in over[n]:
                    if j // size < len(of_block):
                        of_block[j // size] += p / stride
        of_block[[0, max(i // size - 1, 0), i // size]] = np.inf
        chosen = np.argsort(-of_block, kind="stable")[:blocks]
        full = [j for j in range(i + 1) if shown[b, j] and j // size in chosen]
        near = [j for j in range(i + 1) if shown[b, j] and i - j < window]
        for h in heads:
            gate = 1 / (1 + np.exp(-x[b, i] @ params["gates"][:, h]))
            if seen:
                out[b, i, h] += gate[0] * softmax(keys[seen] @ q[b, i, h] * scale) @ values[seen]
            for n, own in ((1, full), (2, near)):
                if own:
                    logits = k[b, own, g] @ q[b, i, h] * scale
                    out[b, i, h] += gate[n] * softmax(logits) @ v[b, own, g]
    return out


def made(x, **options):
    variant = variants.get("native_sparse", **options)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8, width=x.shape[-1])
    # Places start at 0, which would not show.
    params = jax.tree.map(lambda x: x + 0.1, params)
    run = jax.jit(
        lambda params, x, *qkv, mask=masks.causal, **more: variant.attend(
            params, *qkv, Options(mask, **more), features=variant.features(params, x)
        ),
        static_argnames=("mask", "query_offset"),
    )
    return params, run


@pytest.mark.sampled(1)
@pytest.mark.parametrize("sizes", [SIZES, SIZES | {"summary": 2, "size": 6, "blocks": 3}])
def test_matches_the_equations(draw, sizes):
    qkv, x = (draw(2, 23, 4, 8), draw(2, 23, 2, 8), draw(2, 23, 2, 6)), draw(2, 23, 12)
    params, run = made(x, **sizes)
    want = oracle(params, x, *qkv, np.ones((2, 23), bool), **sizes)
    np.testing.assert_allclose(run(params, x, *qkv), want, rtol=1e-4, atol=1e-5)


def test_hidden_keys_add_nothing_to_summaries(draw):
    qkv, x = (draw(1, 23, 4, 8), draw(1, 23, 2, 8), draw(1, 23, 2, 6)), draw(1, 23, 12)
    params, run = made(x, **SIZES)
    shown = np.ones((1, 23), bool)
    shown[0, [3, 8, 9, 10, 11, 12]] = False
    got = run(params, x, *qkv, mask=masks.causal & masks.keys(shown))
    np.testing.assert_allclose(got, oracle(params, x, *qkv, shown, **SIZES), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_one_query_reads_a_cache(draw):
    (q, k, v), x = (draw(1, 23, 4, 8), draw(1, 23, 2, 8), draw(1, 23, 2, 6)), draw(1, 23, 12)
    params, run = made(x, **SIZES)
    whole = run(params, x, q, k, v)
    for i in (0, 11, 22):
        at = slice(i, i + 1)
        one = run(params, x[:, at], q[:, at], k, v, query_offset=i)
        np.testing.assert_allclose(one[:, 0], whole[:, i], rtol=1e-5, atol=1e-6)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("sizes", [SIZES, SIZES | {"summary": 6, "window": 1, "blocks": 3}])
def test_pieces_and_steps_match_the_equations(draw, sizes):
    """Where two sequences are at positions of their own."""
    x, qkv = pieces.inputs(draw, 27)
    params, _ = made(x, **sizes)
    got = pieces.in_pieces(
        variants.get("native_sparse", **sizes), params, x, qkv, (3, 4, 5, 18, 26)
    )
    want = oracle(params, x, *qkv, np.ones((2, 27), bool), **sizes)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got[1, :-3], want[1, :-3], rtol=1e-4, atol=1e-5)


def test_values_wider_than_keys_are_refused(draw):
    x = draw(1, 5, 12)
    params, run = made(x)
    with pytest.raises(ValueError, match="may be as wide as keys"):
        run(params, x, draw(1, 5, 4, 8), draw(1, 5, 2, 8), draw(1, 5, 2, 9))


def test_sizes_must_fit():
    with pytest.raises(ValueError, match="stride"):
        variants.get("native_sparse", summary=10, stride=4)
