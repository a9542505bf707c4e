"""Low-rank adapters against their equation in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.models.language import TransformerLM
from attention_jax.nn import lora
from attention_jax.nn.layers import Linear
from attention_jax.nn.transformer import TransformerConfig

CONFIG = TransformerConfig(11, 8, layers=2, heads=2, feed_forward=12, positions="learned")
TOKENS = np.random.default_rng(0).integers(0, 11, (2, 5))


def model(*, scan=False):
    return TransformerLM(CONFIG._replace(scan=scan, max_length=9), rngs=nnx.Rngs(0))


def logits(own):
    return own.logits(jnp.asarray(TOKENS))


def adapted(own, **changes):
    options = {"rank": 2, "alpha": 6.0, "rngs": nnx.Rngs(1)} | changes
    return lora.adapted(own, **options)


def shaken(params):
    """Every adapter away from zero."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(3), len(leaves))
    pairs = zip(leaves, keys, strict=True)
    return tree.unflatten([x + 0.3 * jax.random.normal(key, x.shape) for x, key in pairs])


def test_the_output_is_that_of_the_paper():
    own = lora.Adapted(Linear(4, 3, rngs=nnx.Rngs(0)), rank=2, alpha=6.0, rngs=nnx.Rngs(1))
    graph, state = nnx.split(own)
    params = shaken(nnx.as_pure(state))
    x = np.random.default_rng(1).normal(size=(5, 4))
    w, b, down, up = (
        np.asarray(params[name], np.float64) for name in ("kernel", "bias", lora.DOWN, lora.UP)
    )
    want = x @ w + b + 6.0 / 2 * x @ down @ up
    got = nnx.merge(graph, params)(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scan", [False, True])
def test_an_adapter_adds_nothing_at_first_and_merges_into_the_plain_model(scan):
    plain_graph, plain = nnx.split(model(scan=scan))
    own = adapted(model(scan=scan))
    np.testing.assert_array_equal(logits(own), logits(nnx.merge(plain_graph, plain)))
    graph, state = nnx.split(own)
    params = shaken(nnx.as_pure(state))
    whole = lora.merged(params, scale=3.0)
    assert jax.tree.structure(whole) == jax.tree.structure(nnx.as_pure(plain))
    got, want = logits(nnx.merge(graph, params)), logits(nnx.merge(plain_graph, whole))
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)
    assert np.abs(got - logits(own)).max() > 0.1


def test_queries_and_values_have_adapters_and_nothing_else():
    before = nnx.as_pure(nnx.split(model())[1])
    after = nnx.as_pure(nnx.split(adapted(model()))[1])
    sizes = [sum(x.size for x in jax.tree.leaves(own)) for own in (before, after)]
    assert sizes[1] - sizes[0] == CONFIG.layers * 2 * 2 * (8 + 8)


def test_maps_that_are_not_there_and_ranks_that_are_too_high_are_refused():
    with pytest.raises(ValueError, match=r"`targets` must occur.*'quary'.*nearest are .*query/ker"):
        adapted(model(), targets="quary")
    with pytest.raises(ValueError, match="`rank`"):
        adapted(model(), rank=9)
