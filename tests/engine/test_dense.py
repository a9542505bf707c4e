"""The one-tile path where the softmax is saturated, against float64."""

import jax
import jax.numpy as jnp
import numpy as np

from attention_jax import attention


def gradient_of_query(q, k, v, ct):
    """The cotangent of the query by the definition, in float64 loops."""
    q, k, v, ct = (np.asarray(x, np.float64) for x in (q, k, v, ct))
    out, scale = np.zeros_like(q), q.shape[-1] ** -0.5
    for b, t, h in np.ndindex(q.shape[:-1]):
        logits = k[b, :, h] @ q[b, t, h] * scale
        p = np.exp(logits - logits.max())
        p /= p.sum()
        of_weights = v[b, :, h] @ ct[b, t, h]
        out[b, t, h] = scale * (p * (of_weights - p @ of_weights)) @ k[b, :, h]
    return out


def test_a_saturated_softmax_has_the_gradient_of_the_definition(draw):
    """Where one weight is 1, its cotangent cancels exactly, however large values are."""
    # Whole numbers, whose products are exact: all that is lost is lost after the logits.
    q, k = (jnp.round(100 * draw(1, 20, 2, 4)) for _ in range(2))
    v, ct = 100 * draw(1, 20, 2, 4), draw(1, 20, 2, 4)
    # Two queries of another size, whose weights are spread: they set the scale of the error.
    q = q.at[:, :2].set(0).at[:, :2, :, 0].set(0.0078125)

    def loss(q):
        return (attention(q, k, v, implementation="dense") * ct).sum()

    expected = gradient_of_query(q, k, v, ct)
    gradient = jax.jit(jax.grad(loss))(q)
    np.testing.assert_allclose(gradient[:, :2], expected[:, :2], rtol=1e-4)
    saturated = np.abs(expected).max(-1) < 1e-30
    assert saturated.mean() > 0.5
    np.testing.assert_array_equal(gradient[saturated], 0)
