"""Norms by their equations, and where they stand around a sub-layer."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.nn.norms import norm_of
from attention_jax.nn.transformer import TransformerConfig, last_norm
from attention_jax.nn.transformer_layers import Residual
from tests.support.equations import numbers


def by_equation(layer, x, kind, epsilon):
    """A row at a time, in float64: arXiv:1607.06450, equation 4; arXiv:1910.07467, equation 4."""
    out = np.zeros(x.shape)
    for at in np.ndindex(x.shape[:-1]):
        mean = 0.0 if kind == "rms" else sum(x[at]) / x.shape[-1]
        size = np.sqrt(sum((x[at] - mean) ** 2) / x.shape[-1] + epsilon)
        out[at] = numbers(layer.scale) * (x[at] - mean) / size
        if getattr(layer, "bias", None) is not None:
            out[at] += numbers(layer.bias)
    return out


def vary(layer, draw):
    """Gains and biases other than those with which training begins."""
    for name in ("scale", "bias"):
        if getattr(layer, name, None) is not None:
            setattr(layer, name, nnx.Param(draw(*getattr(layer, name).shape)))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kind", "epsilon"), [("layer", 1e-6), ("layer", 0.5), ("rms", 0.5)])
def test_a_norm_is_its_equation(kind, epsilon, bias, draw):
    layer = norm_of(kind, 6, epsilon=epsilon, bias=bias, dtype=jnp.float32, rngs=nnx.Rngs(0))
    vary(layer, draw)
    x = draw(2, 3, 6) + 1
    wanted = by_equation(layer, np.asarray(x, np.float64), kind, epsilon)
    np.testing.assert_allclose(layer(x), wanted, rtol=1e-5, atol=1e-6)
    assert (getattr(layer, "bias", None) is not None) == (bias and kind == "layer")


@pytest.mark.parametrize("kind", ["layer", "rms"])
@pytest.mark.parametrize("placement", ["pre", "post", "sandwich"])
def test_norms_stand_where_the_placement_says(placement, kind, draw):
    config = TransformerConfig(9, width=6, heads=1, norm=placement, norm_kind=kind)
    around = Residual(config._replace(norm_epsilon=0.1), rngs=nnx.Rngs(0))
    vary(around.norm, draw)
    x, matrix = draw(2, 3, 6), draw(6, 6)
    found = around.add(x, around.pre_norm(x) @ matrix)
    wide, f = np.asarray(x, np.float64), lambda y: y @ np.asarray(matrix, np.float64)
    norm = lambda layer, y: by_equation(layer, y, kind, 0.1)  # noqa: E731
    if placement == "post":
        wanted = norm(around.norm, wide + f(wide))
    elif placement == "pre":
        wanted = wide + f(norm(around.norm, wide))
    else:
        vary(around.norm_after, draw)
        found = around.add(x, around.pre_norm(x) @ matrix)
        wanted = wide + norm(around.norm_after, f(norm(around.norm, wide)))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_post_norm_alone_needs_no_last_one():
    for placement, has in (("pre", True), ("post", False), ("sandwich", True)):
        config = TransformerConfig(9, width=4, norm=placement, norm_kind="rms")
        assert isinstance(last_norm(config, rngs=nnx.Rngs(0)), nnx.RMSNorm) == has


@pytest.mark.parametrize(
    ("field", "value"), [("norm", "none"), ("norm_kind", "batch"), ("norm_epsilon", 0.0)]
)
def test_a_wrong_norm_is_named(field, value):
    with pytest.raises(ValueError, match=f"^`{field}` must be .*; got {value!r}"):
        TransformerConfig(9)._replace(**{field: value}).check()
