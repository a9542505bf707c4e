"""The order in which shards share the pairs of a causal mask."""

import jax.numpy as jnp
import numpy as np
import pytest

import attention_jax as aj
from attention_jax.core import contexts


def test_zigzag_shards_have_an_early_and_a_late_chunk():
    assert contexts.zigzag(jnp.arange(12), shards=3, axis=0).tolist() == [
        *(0, 1, 10, 11),
        *(2, 3, 8, 9),
        *(4, 5, 6, 7),
    ]


def test_arrays_without_channels_have_an_order_too():
    assert contexts.zigzag(jnp.zeros((2, 8, 0)), shards=2).shape == (2, 8, 0)


def test_every_shard_has_as_many_pairs_of_a_causal_mask():
    at = contexts.zigzag(np.arange(64), shards=8, axis=0).reshape(8, -1)
    assert len(set((at + 1).sum(1).tolist())) == 1


def test_natural_order_comes_back_for_all_that_follows_the_sequence(draw):
    batch = {"tokens": jnp.arange(24).reshape(2, 12), "vectors": draw(2, 12, 3)}
    mixed = contexts.zigzag(batch, shards=2)
    assert (mixed["tokens"] != batch["tokens"]).any()
    again = contexts.natural(mixed, shards=2)
    assert all((again[name] == batch[name]).all() for name in batch)


def test_lengths_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="`tree` must be a multiple of 6.*got 8.*6 and 12"):
        contexts.zigzag(jnp.arange(8), shards=3, axis=0)


def test_a_context_is_a_value_that_a_text_may_name():
    assert contexts.checked("sequence") == aj.Context("sequence", "gather", "natural")
    assert hash(aj.Context("sequence")) == hash(aj.Context("sequence", order="natural"))
