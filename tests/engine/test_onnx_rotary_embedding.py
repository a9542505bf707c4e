"""ONNX's rotary embedding against complex numbers, and against `positions.rope`."""

import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import positions
from attention_jax.engine.onnx_operator import rotary_embedding


def oracle(x, angles, interleaved, width):
    """Pairs of channels as complex numbers, turned by their angles."""
    x, out = np.asarray(x, np.float64), np.array(x, np.float64)
    pairs = [(2 * c, 2 * c + 1) if interleaved else (c, c + width // 2) for c in range(width // 2)]
    for c, (one, other) in enumerate(pairs):
        turned = (x[..., one] + 1j * x[..., other]) * np.exp(1j * angles[:, None, :, c])
        out[..., one], out[..., other] = turned.real, turned.imag
    return out


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("width", [0, 4])
def test_pairs_are_turned(draw, interleaved, width):
    x, angles = draw(2, 3, 5, 8), draw(7, (width or 8) // 2)
    ids = jnp.asarray(np.random.default_rng(1).integers(0, 7, (2, 5)))
    attributes = {"interleaved": interleaved, "rotary_embedding_dim": width}
    got = rotary_embedding(x, jnp.cos(angles), jnp.sin(angles), ids, **attributes)
    own = np.asarray(angles, np.float64)[ids]
    expected = oracle(x, own, interleaved, width or 8)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    # Three axes, and the angles of each position themselves.
    flat = x.transpose(0, 2, 1, 3).reshape(2, 5, -1)
    caches = jnp.cos(angles)[ids], jnp.sin(angles)[ids]
    again = rotary_embedding(flat, *caches, num_heads=3, **attributes)
    np.testing.assert_array_equal(again.reshape(2, 5, 3, 8).transpose(0, 2, 1, 3), got)


@pytest.mark.slow
def test_it_is_rope_with_the_angles_of_rope(draw):
    x, at = draw(1, 2, 6, 8), jnp.arange(6)
    angles = at.astype(jnp.float32)[:, None] / 10_000.0 ** (jnp.arange(0, 8, 2) / 8)[None]
    got = rotary_embedding(x, jnp.cos(angles), jnp.sin(angles), at[None], interleaved=1)
    expected = positions.rope(x.transpose(0, 2, 1, 3), at).transpose(0, 2, 1, 3)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("cache", "rest", "error"),
    [
        ((7, 3), {}, r"`cos_cache` must be \[positions c\] with c = 4.*got \[7, 3\]"),
        ((7, 4), {"interleaved": 2}, "`interleaved` must be one of 0, 1; got 2"),
        ((7, 4), {"rotary_embedding_dim": 5}, "`rotary_embedding_dim` must be even.*got 5"),
        ((7, 4), {"rotary_embedding_dim": 10}, "`rotary_embedding_dim` must be at most .*got"),
        ((7, 4), {"num_heads": 2}, "`num_heads` must be the length of axis 1 of `x`; got 2"),
    ],
)
def test_what_breaks_a_rule_is_refused(users_errors, cache, rest, error):
    x, ids = jnp.ones((2, 3, 5, 8)), jnp.zeros((2, 5), jnp.int32)
    with pytest.raises(ValueError, match=error):
        rotary_embedding(x, jnp.ones(cache), jnp.ones(cache), ids, **rest)
