"""The order of tokens: rows there and back, special tokens that are missing or shared."""

import numpy as np
import pytest

from attention_jax.pretrained.types import Special
from attention_jax.pretrained.vocabulary import NEVER, order_of, order_with

TABLE = np.arange(12.0).reshape(6, 2)


def test_special_tokens_stand_first_and_rows_go_there_and_back():
    order = order_of(Special(padding=5, begin=2, end=0, unknown=3), 6)
    assert order.theirs == (5, 2, 0, 3, 1, 4) and order.silent == ()
    ours = order.rows().read(TABLE)
    np.testing.assert_array_equal(ours, TABLE[[5, 2, 0, 3, 1, 4]])
    np.testing.assert_array_equal(order.rows().write(ours), TABLE)


def test_tokens_that_they_have_not_or_share_are_silent():
    order = order_of(Special(begin=3, end=3), 4)
    assert order.theirs == (None, 3, 3, None, 0, 1, 2)
    assert order.silent == (0, 1, 3)  # the end is written, the beginning is not
    table = order.rows().read(TABLE[:4])
    np.testing.assert_array_equal(table[0], 0)
    np.testing.assert_array_equal(order.rows().write(table), TABLE[:4])
    bias = order.rows().read(np.arange(4.0))
    np.testing.assert_array_equal(bias, [NEVER, NEVER, 3, NEVER, 0, 1, 2])


def test_a_tokenizer_says_the_order_and_the_model_what_it_lacks():
    order = order_with((None, None, 4, 1, 0, 2), Special(padding=3, begin=4), 7)
    assert order.theirs == (3, 4, 4, 1, 0, 2, 5, 6)
    with pytest.raises(ValueError, match=r"must fit the model's 4 tokens; it has one of id 4"):
        order_with((None, None, 4, 1, 0, 2), Special(), 4)
