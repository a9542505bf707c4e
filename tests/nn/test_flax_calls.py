"""Flax's own layer: decoding stands where the cache stands, and weights are sown."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import variants
from attention_jax.nn.flax_calls import attention_function

LENGTH = 6
SOWS = pytest.mark.filterwarnings("ignore:Using 'Module.sow")  # without `nnx.capture`
SHARES = pytest.mark.skipif(
    "num_kv_heads" not in inspect.signature(nnx.MultiHeadAttention.__init__).parameters,
    reason="this Flax has no shared key heads",
)
# Of each kind: by distance, learned by position, a pattern, keys summed, only causal.
DECODES = {
    "scaled_dot": "scaled_dot",
    "alibi": "alibi",
    "t5_bias": "t5_bias(bidirectional=False)",
    "rope": "rope",
    "sliding_window": "sliding_window(size=3)",
    "learned_absolute": "learned_absolute(max_length=16)",
    "transformer_xl": "transformer_xl",
    "strided": "strided(stride=2)",
    "forgetting": "forgetting(gates='key')",
    "linear": "linear",
}


@pytest.fixture(autouse=True)
def as_flax_is():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def layer(name, **options):
    variant = variants.resolve(name)
    sizes = dict(heads=4, kv_heads=options.get("kv", 4), head_width=4)
    params = variant.init(jax.random.key(1), **sizes)
    params = jax.tree.map(lambda x: x + 0.3, params)
    own = {"num_kv_heads": options.pop("kv")} if "kv" in options else {}
    return nnx.MultiHeadAttention(
        num_heads=4,
        in_features=16,
        decode=False,
        rngs=nnx.Rngs(3),
        attention_fn=attention_function(variant, params),
        **own,
        **options,
    )


def decoded(flax, x, cache=LENGTH + 2, **given):
    """One position after another, as a compiled step does."""
    flax.init_cache((*x.shape[:-2], cache, 16))
    step = nnx.jit(lambda flax, x: flax(x, decode=True, **given))
    return jnp.concatenate([step(flax, x[..., i : i + 1, :]) for i in range(LENGTH)], axis=-2)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", DECODES)
def test_decoding_agrees_with_the_whole_sequence(name, draw):
    flax, x = layer(DECODES[name]), draw(2, LENGTH, 16)
    np.testing.assert_allclose(decoded(flax, x), flax(x, is_causal=True), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_padding_hides_keys_and_moves_no_position(draw):
    flax, x = layer("alibi"), draw(2, LENGTH, 16)
    # The first sequence is padded at its start, up to and with the third position.
    seen = jnp.arange(LENGTH + 2)[None] >= jnp.array([3, 0])[:, None]
    got = decoded(flax, x, mask=seen[:, None, None])
    expected = flax(x, is_causal=True, mask=seen[:, None, None, :LENGTH])
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_positions_may_be_given(draw):
    flax, x = layer("sliding_window(size=3)"), draw(1, LENGTH, 16)
    expected = flax(x, is_causal=True)
    flax.init_cache((1, LENGTH, 16))
    for i in range(LENGTH):
        got = flax(x[:, i : i + 1], decode=True, input_positions=jnp.full((1, 1), i))
    np.testing.assert_allclose(got[:, 0], expected[:, -1], rtol=1e-4, atol=1e-5)
    moved = flax(x, is_causal=True, decode=False, input_positions=7 + jnp.arange(LENGTH)[None])
    np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="`input_positions` must count up by 1.*got .0, 2, 1"):
        flax(x, decode=False, input_positions=jnp.array([[0, 2, 1, 3, 4, 5]]))
    with pytest.raises(ValueError, match="`input_positions` must hold a position for each of 6"):
        flax(x, decode=False, input_positions=jnp.arange(2)[None])


@pytest.mark.parametrize("name", ["delta", "cosformer"])
def test_what_decodes_by_its_own_state_refuses(name, draw):
    flax = layer(name)
    flax.init_cache((1, 4, 16))
    with pytest.raises(ValueError, match="Decode with its `start` and `step`"):
        nnx.jit(lambda flax, x: flax(x, decode=True))(flax, draw(1, 1, 16))


@pytest.mark.slow
@SOWS
@pytest.mark.parametrize("kv", [4, pytest.param(2, marks=SHARES)])
def test_the_weights_sown_are_those_of_flax(kv, draw):
    x = draw(2, 3, LENGTH, 16)
    own = nnx.MultiHeadAttention(
        num_heads=4,
        in_features=16,
        decode=False,
        rngs=nnx.Rngs(3),
        **({} if kv == 4 else {"num_kv_heads": kv}),
    )
    found = []
    for flax in (own, layer("scaled_dot", kv=kv)):
        flax(x, mask=nnx.make_causal_mask(x[..., 0]), sow_weights=True)
        (weights,) = flax.attention_weights.get_value()
        found.append(weights)
    assert found[1].shape == (2, 3, 4, LENGTH, LENGTH)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@SOWS
def test_what_is_no_sum_of_values_sows_nan(draw):
    flax = layer("differential")
    flax(draw(1, LENGTH, 16), sow_weights=True)
    (weights,) = flax.attention_weights.get_value()
    assert weights.shape == (1, 4, LENGTH, LENGTH) and jnp.isnan(weights).all()
