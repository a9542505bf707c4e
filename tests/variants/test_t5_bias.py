import jax
import numpy as np
import pytest

from attention_jax import variants


@pytest.mark.parametrize("bidirectional", [True, False])
def test_matches_its_equation(qkv, draw, bidirectional):
    variant, table = variants.get("t5_bias", bidirectional=bidirectional), draw(32, 4)
    got = jax.jit(variant.attend)({"table": table}, *qkv)
    q, k, v, table = (np.asarray(x, np.float64) for x in (*qkv, table))
    for b, t, h in np.ndindex(got.shape[:-1]):
        # Below 8 positions every distance has its own bucket; later keys have the second half.
        later = (lambda n: 16 + n) if bidirectional else (lambda n: 0)
        buckets = [t - j if j <= t else later(j - t) for j in range(5)]
        weights = np.exp(k[b, :, h // 2] @ q[b, t, h] / np.sqrt(8) + table[buckets, h])
        expected = weights @ v[b, :, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_the_table_has_a_row_for_each_bucket_and_a_column_for_each_head():
    variant = variants.get("t5_bias", buckets=8)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8)
    assert params["table"].shape == (8, 4)


def test_too_few_buckets_are_refused():
    with pytest.raises(ValueError, match="`buckets` must be at least 4"):
        variants.get("t5_bias", buckets=3)
