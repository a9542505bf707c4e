"""The time of a token: what is read, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import nn, variants
from attention_jax.analysis import token_time
from attention_jax.analysis.decoding_costs import decoding_costs


@pytest.mark.parametrize("name", ["scaled_dot", "latent"])
def test_the_last_tokens_are_read_again_and_again(name):
    """With keys and values of nothing before, and as often as it is called."""
    call = token_time.reads(variants.get(name), 24, heads=2, head_width=4)
    first, again = call(), call()
    np.testing.assert_array_equal(first, again)
    layer = nn.MultiHeadAttention(8, heads=2, variant=name, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (token_time.STEPS, 1, 1, 8))
    cache, wanted = layer.init_cache(1, 24), []
    cache = jax.tree.map(lambda a: jnp.full_like(a, 8) if a.dtype == jnp.int32 else a, cache)
    for at, own in enumerate(x):
        cache, out = layer.decode_step(own, cache, jnp.int32(8 + at))
        wanted.append(out)
    np.testing.assert_allclose(first, jnp.stack(wanted), atol=1e-5)


def test_a_token_takes_time():
    assert token_time.token_time(variants.get("linear"), 16, heads=1, head_width=4, repeats=1) > 0


@pytest.mark.parametrize(
    ("name", "length", "said"),
    [
        ("nystromformer", 64, "`variant` must look back"),
        ("coverage", 64, "got one for cross"),
        ("linear", 8, "`STEPS`"),
    ],
)
def test_what_is_not_read_token_by_token_is_refused(name, length, said):
    with pytest.raises(ValueError, match=said):
        token_time.reads(variants.get(name), length)


def test_costs_have_what_there_is_and_say_why_not_the_rest():
    found = decoding_costs(variants.get("learned_absolute"), timed=False, lengths=(64, 128))
    assert found.bytes == ((64, 64 * 4096), (128, 128 * 4096)) and found.seconds == ()
    assert decoding_costs(variants.get("nystromformer"), timed=True, lengths=(64,)).why
