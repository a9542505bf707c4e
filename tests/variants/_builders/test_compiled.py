"""Passes are compiled once for equal options, and see them as they were given."""

import jax.numpy as jnp
import numpy as np

from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.variants._builders.compiled import compiled


def traced_by(calls):
    @compiled
    def attend(params, q, k, v, options=Options()):
        calls.append(options)
        return q + params

    return attend


def test_equal_options_are_traced_once(draw):
    calls, x = [], draw(1, 3, 2, 4)
    attend = traced_by(calls)
    for size in (2, 2, 3):
        out = attend(1.0, x, x, x, Options(masks.causal & masks.sliding_window(size)))
        np.testing.assert_array_equal(out, x + 1)
    assert len(calls) == 2 and calls[0].mask == masks.causal & masks.sliding_window(2)


def test_a_function_of_a_users_own_is_asked_again(draw):
    calls, x = [], draw(1, 3, 2, 4)
    attend = traced_by(calls)
    own = Options(lambda b, h, i, j: j < i)
    attend(1.0, x, x, x, own)
    attend(1.0, x, x, x, own)
    assert [x.mask for x in calls] == [own.mask, own.mask]


def test_positions_that_are_one_array_stay_one(draw):
    calls, x = [], draw(1, 3, 2, 4)
    attend = traced_by(calls)
    here, there = jnp.int32(3), jnp.int32(3)
    attend(1.0, x, x, x, Options(query_offset=here, key_offset=here))
    attend(1.0, x, x, x, Options(query_offset=here, key_offset=there))
    attend(1.0, x, x, x, Options(query_offset=5, key_offset=5))
    assert calls[0].query_offset is calls[0].key_offset
    assert calls[1].query_offset is not calls[1].key_offset
    assert calls[2] == Options(query_offset=5, key_offset=5)
