import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options


@pytest.mark.parametrize("causal", [False, True])
def test_matches_its_equation(qkv, draw, causal):
    variant, mask, gate = (
        variants.get("rectified_linear"),
        masks.causal if causal else None,
        draw(4, 8),
    )
    params = {"gate": gate}
    got = jax.jit(lambda *qkv: variant.attend(params, *qkv, Options(mask=mask)))(*qkv)
    q, k, v, gate = (np.asarray(x, np.float64) for x in (*qkv, gate))
    for b, t in np.ndindex(got.shape[:2]):
        seen = t + 1 if causal else 5
        read = np.zeros((4, 6))
        for h in range(4):
            scores = k[b, :seen, h // 2] @ q[b, t, h] / np.sqrt(8)
            read[h] = np.maximum(scores, 0) @ v[b, :seen, h // 2]
        norm = read / np.sqrt((read**2).mean() + 1e-8)
        expected = norm / (1 + np.exp(-gate[:, :6] * read))
        np.testing.assert_allclose(got[b, t], expected, rtol=1e-5, atol=1e-6)


def test_queries_that_no_key_answers_give_zero(qkv, draw):
    q, k, v = qkv
    attend = jax.jit(variants.get("rectified_linear").attend)
    got = attend({"gate": draw(4, 8)}, abs(q), -abs(k), v)
    np.testing.assert_array_equal(got, np.zeros(got.shape))


def test_with_an_open_gate_it_is_relu_but_for_the_norm(qkv):
    """The norm takes the number of keys out again; a gate of zeros is half open."""
    q, k, v = qkv
    got = jax.jit(variants.get("rectified_linear").attend)({"gate": jnp.zeros((4, 8))}, *qkv)
    mean = jax.jit(variants.get("relu").attend)({}, q, k, v)
    expected = mean / np.sqrt((mean**2).mean((-2, -1), keepdims=True))
    np.testing.assert_allclose(2 * got, expected, rtol=1e-4, atol=1e-5)


def test_values_wider_than_the_gate_are_refused(draw, users_errors):
    params = {"gate": draw(4, 8)}
    with pytest.raises(ValueError, match="`value` must be at most as wide as the gate.*9 and 8"):
        variants.get("rectified_linear").attend(
            params, draw(1, 3, 4, 8), draw(1, 3, 2, 8), draw(1, 3, 2, 9)
        )
