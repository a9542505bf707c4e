"""Layers give a variant what it computes from their input, in passes and in steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.models.language import TransformerLM
from attention_jax.nn import MultiHeadAttention, TransformerConfig

BY_INPUT = ("gated", "gated_delta", "forgetting", "indexed_sparse(keys=3)")
WIDTH, LENGTH = 8, 7


def layer(name):
    return MultiHeadAttention(WIDTH, heads=2, variant=name, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("name", BY_INPUT)
def test_a_layer_hands_on_the_features_of_its_input(name, draw):
    own, x = layer(name), draw(2, LENGTH, WIDTH)
    params = nnx.as_pure(nnx.state(own)["learned"])
    q, (k, v) = own.queries(x), own.keys_values(x)
    features = own.variant.features(params, x)
    options = Options(mask=masks.causal)
    expected = own.merge(own.variant.attend(params, q, k, v, options, features=features))
    np.testing.assert_allclose(own(x, mask=masks.causal), expected, rtol=1e-5, atol=1e-6)
    other = own.merge(own.attend(q, k, v, mask=masks.causal, features=own.features(x + 1)))
    assert float(jnp.abs(other - expected).max()) > 1e-3


@pytest.mark.parametrize("name", BY_INPUT)
@pytest.mark.parametrize("chunk", [1, 3])
def test_steps_reproduce_the_layer(name, chunk, draw):
    own, x = layer(name), draw(2, LENGTH, WIDTH)
    expected, cache, first = own(x, mask=masks.causal), own.init_cache(2, LENGTH), 0
    step = nnx.jit(lambda own, *rest: own.decode_step(*rest))
    while first < LENGTH:
        part = x[:, first : first + chunk]
        cache, out = step(own, part, cache, jnp.int32(first))
        rows = expected[:, first : first + part.shape[1]]
        np.testing.assert_allclose(out, rows, rtol=1e-4, atol=1e-5)
        first += part.shape[1]


@pytest.mark.slow
def test_a_model_decodes_with_them():
    config = TransformerConfig(11, width=8, heads=2, layers=3, attention=f"[{', '.join(BY_INPUT)}]")
    model = TransformerLM(config, rngs=nnx.Rngs(0))
    text = jnp.asarray(np.random.default_rng(0).integers(0, 11, (2, LENGTH)), jnp.int32)
    expected, state = model.logits(text), model.start(2, LENGTH)
    for n in range(LENGTH):
        state, logits = nnx.jit(lambda m, *rest: m.step(*rest))(model, state, text[:, n])
        np.testing.assert_allclose(logits, expected[:, n], rtol=1e-4, atol=1e-5)


def test_what_is_missing_or_too_much_is_told(qkv, draw):
    own = variants.get("gated", gates="input")
    sizes = {"heads": 4, "kv_heads": 2, "head_width": 8}
    with pytest.raises(ValueError, match="`width` of the layer's input must be given.*width=32"):
        own.init(jax.random.key(0), **sizes)
    params = own.init(jax.random.key(0), width=12, **sizes)
    with pytest.raises(ValueError, match="`features` must be given.*variant.features"):
        own.attend(params, *qkv)
    late = own.features(params, draw(2, 4, 12))
    with pytest.raises(ValueError, match=r"axes of the queries, \[2, 5\]; got .* float32\[2, 4"):
        own.attend(params, *qkv, features=late)
    plain = variants.get("gated", gates="query")
    of_query = plain.init(jax.random.key(0), width=12, **sizes)  # which it does not need
    assert of_query["w"].shape == (4, 8)
    with pytest.raises(ValueError, match="`features` must be left out"):
        plain.attend(of_query, *qkv, features=late)
