"""ONNX's flex attention against `attention`, whose modifiers see one pair."""

import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention
from attention_jax.core import masks
from attention_jax.engine.onnx_operator import flex_attention


@pytest.mark.slow
def test_modifiers_of_all_scores_are_those_of_each_pair(draw):
    """A bias, and -inf for what a mask hides; the first query sees nothing and gives 0."""
    q, k, v = draw(2, 4, 5, 8), draw(2, 2, 6, 8), draw(2, 2, 6, 3)
    i, j = jnp.arange(5)[None, None, :, None], jnp.arange(6)[None, None, None]

    def modified(scores):
        return jnp.where(j < i, scores - 0.5 * (i - j).astype(scores.dtype), -jnp.inf)

    expected = attention(
        *(x.transpose(0, 2, 1, 3) for x in (q, k, v)),
        score=lambda q, k: 0.3 * q @ k,
        score_mod=lambda s, b, h, i, j: s - 0.5 * (i - j).astype(s.dtype),
        mask=masks.Mask(lambda b, h, i, j: j < i),
    )
    got = flex_attention(q, k, v, scale=0.3, score_mod=modified)
    np.testing.assert_allclose(got.transpose(0, 2, 1, 3), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got[:, :, 0], 0)


def test_weights_are_modified_after_the_softmax(draw):
    x = draw(1, 2, 4, 8)
    got = flex_attention(x, x, x, prob_mod=lambda p: p**2)
    logits = np.einsum("bhid,bhjd->bhij", x, x).astype(np.float64) / np.sqrt(8)
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(got, weights**2 @ np.asarray(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("rest", "error"),
    [
        ({"score_mod": lambda s: s[..., :1]}, r"`score_mod` must keep the shape .*\[1, 2, 4, 1\]"),
        ({"prob_mod": lambda s: s.sum()}, r"`prob_mod` must keep the shape .* got \[\]"),
        ({"softmax_precision": 7}, "`softmax_precision` must be one of"),
        ({"softmax_precision": 11}, "needs an input of float64, or the option .*got float32"),
    ],
)
def test_what_breaks_a_rule_is_refused(users_errors, draw, rest, error):
    x = draw(1, 2, 4, 8)
    with pytest.raises(ValueError, match=error):
        flex_attention(x, x, x, **rest)
