import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


def oracle(q, k, v, stride, count, *, back):
    """Section 4.3 of arXiv:1904.10509, for one merged head; it looks back only."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(q.shape[:-1]):
        keys = range(t + 1) if back else range(k.shape[1])
        chunk = {j for j in keys if j // stride == t // stride}
        summaries = {j for j in keys if j % stride in range(stride - count, stride)}
        seen = sorted(chunk | summaries)
        weights = np.exp(k[b, seen, h // 2] @ q[b, t, h] / np.sqrt(q.shape[-1]))
        out[b, t, h] = weights @ v[b, seen, h // 2] / weights.sum()
    return out


@pytest.mark.sampled(2)
@pytest.mark.parametrize("back", [True, False])
@pytest.mark.parametrize("stride, count", [(3, 1), (4, 2)])
def test_matches_the_papers_sets(draw, stride, count, back):
    qkv = draw(2, 9, 4, 8), draw(2, 9, 2, 8), draw(2, 9, 2, 6)
    attend = variants.get("fixed_sparse", stride=stride, summaries=count).attend
    mask = masks.causal if back else None
    got = jax.jit(lambda *qkv: attend({}, *qkv, Options(mask=mask)))(*qkv)
    np.testing.assert_allclose(got, oracle(*qkv, stride, count, back=back), rtol=1e-5, atol=1e-6)


def test_with_all_keys_as_summaries_it_is_scaled_dot(qkv):
    got, expected = (
        jax.jit(variants.get(name, **options).attend)({}, *qkv)
        for name, options in (("fixed_sparse", {"stride": 2, "summaries": 2}), ("scaled_dot", {}))
    )
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_a_chunk_holds_its_summaries():
    with pytest.raises(ValueError, match="`summaries` must be at most `stride`; got summaries=5"):
        variants.get("fixed_sparse", stride=4, summaries=5)
