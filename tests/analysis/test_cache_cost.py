"""What a cache costs: the bytes of what decoding really makes."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from attention_jax import nn, variants
from attention_jax.analysis.cache_cost import CacheCost, cache_cost, lines
from attention_jax.models.seq2seq_transformer import DecoderLayer

KEYS_AND_VALUES = 2 * 8 * 64 * 4  # of a token: 8 heads of width 64 in float32


def test_keys_and_values_grow_with_each_token():
    for name in ("scaled_dot", "sliding_window", "multi_query"):
        got = cache_cost(variants.get(name), 1000)
        assert got == CacheCost("causal", 1000 * KEYS_AND_VALUES, KEYS_AND_VALUES)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("gated_linear", 8 * 64 * 64 + 1),  # a matrix a head, and the position
        ("linear", 8 * 64 * 65 + 1),  # and the sum of features
        ("delta(convolution=None)", 8 * 64 * 64),
        ("delta", 8 * 64 * 64 + 3 * 3 * 8 * 64),  # three positions of queries, keys and values
        ("local_monotonic(distance=4)", 5 * 2 * 8 * 64 + 1),
    ],
)
def test_states_do_not_grow(name, numbers):
    variant = variants.resolve(name)
    assert cache_cost(variant, 100) == cache_cost(variant, 70_000) == ("causal", 4 * numbers, 0)


def test_a_latent_is_shared_by_all_heads():
    got = cache_cost(variants.get("latent"), 10)
    assert got == ("causal", 10 * 4 * (4 * 64 + 20) + 4, 4 * (4 * 64 + 20))


def test_an_alignment_holds_a_source_and_the_weights_on_it():
    got = cache_cost(variants.get("coverage"), 10)
    assert got == ("cross", 10 * (KEYS_AND_VALUES + 8 * 4), KEYS_AND_VALUES + 8 * 4)


@pytest.mark.parametrize("name", ["alibi", "retention", "latent"])
def test_the_bytes_are_those_of_the_arrays(name):
    """Of another batch, of shared heads and of a narrow type."""
    sizes = {"heads": 4, "kv_heads": 2, "dtype": jnp.bfloat16}
    layer = nn.MultiHeadAttention(32, **sizes, variant=name, rngs=nnx.Rngs(0))
    held = sum(x.nbytes for x in jax.tree.leaves(layer.init_cache(3, 7)))
    assert cache_cost(variants.get(name), 7, batch=3, head_width=8, **sizes).bytes == held


@pytest.mark.parametrize("sharing", [2, 3])
def test_layers_that_share_keys_hold_those_of_one(sharing):
    """The bytes of a stack are those of its layers, of which the first of a group has a cache."""
    sizes = {"vocabulary_size": 5, "width": 32, "heads": 4, "kv_heads": 2, "feed_forward": 8}
    config = nn.TransformerConfig(**sizes, layers=2 * sharing, kv_sharing=sharing)
    stack = [DecoderLayer(config, number=n, rngs=nnx.Rngs(0)) for n in range(config.layers)]
    held = sum(x.nbytes for x in jax.tree.leaves([x.init_cache(2, 9) for x in stack]))
    variant = variants.get("scaled_dot")
    got = cache_cost(variant, 9, batch=2, heads=4, kv_heads=2, head_width=8, kv_sharing=sharing)
    assert got.bytes == -(-held // config.layers)
    assert got.bytes_a_token == -(-held // 9 // config.layers)


def test_what_layers_cannot_share_is_told_in_one_line():
    for name, words in (
        ("delta", "`shared_kv` must be False where an attention keeps a state"),
        ("coverage", "`kv_sharing` must be 1 for a variant that looks at another sequence"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            cache_cost(variants.get(name), 8, kv_sharing=2)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="`kv_sharing`"):
        cache_cost(variants.get("alibi"), 8, kv_sharing=0)


@pytest.mark.parametrize(
    ("name", "more"),
    [("moba(size=8)", (8 * 64 * 4 + 4) // 8 + 1), ("native_sparse", KEYS_AND_VALUES // 4)],
)
def test_blocks_and_summaries_add_to_keys_and_values(name, more):
    """One begins at every eighth token, or every fourth: its share is in the mean."""
    for length in (1000, 1003):
        got = cache_cost(variants.resolve(name), length)
        assert got.bytes_a_token == KEYS_AND_VALUES + more


def test_what_is_not_decoded_is_told_in_one_line():
    with pytest.raises(ValueError, match="`variant` must look back") as caught:
        cache_cost(variants.get("nystromformer"), 8)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="`length`"):
        cache_cost(variants.get("alibi"), 0)
    (line,) = lines(variants.get("prefix"))
    assert line.startswith("Cache of a layer: `variant` must look back")


def test_lengths_that_a_variant_does_not_take_are_told_beside_the_others():
    title, short, middle, long = lines(variants.get("cosformer", max_length=9000))
    assert title.endswith("by tokens:") and short.endswith("bytes, of which a token 0")
    assert "0" in middle and "`length` must be at most `max_length`" in long
