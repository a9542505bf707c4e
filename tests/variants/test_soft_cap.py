import jax
import numpy as np
import pytest

from attention_jax import variants


@pytest.mark.parametrize("cap", [0.5, 50.0])
def test_matches_its_equation(qkv, cap):
    got = jax.jit(variants.get("soft_cap", cap=cap).attend)({}, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    for b, t, h in np.ndindex(got.shape[:-1]):
        weights = np.exp(cap * np.tanh(k[b, :, h // 2] @ q[b, t, h] / (cap * np.sqrt(8))))
        expected = weights @ v[b, :, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


def test_no_score_passes_the_cap(draw):
    score = variants.get("soft_cap", cap=2.0).score({})
    assert abs(float(score(100 * draw(8), 100 * draw(8)))) <= 2


@pytest.mark.parametrize(
    ("cap", "message"),
    [
        (0.0, "`cap` must be above 0; got 0.0.*scaled_dot"),
        (-1.0, "`cap` must be above 0; got -1.0.*scaled_dot"),
        (float("nan"), "`cap` must be finite and a number .*; got nan"),
    ],
)
def test_the_cap_must_be_above_0(cap, message):
    with pytest.raises(ValueError, match=message):
        variants.get("soft_cap", cap=cap)
