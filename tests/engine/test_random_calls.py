"""Random calls equal their definition; `tests/engine/random_calls.py` runs any number of them."""

import pytest

from tests.engine import random_calls


def check(first, count):
    programs = {}
    for number in range(first, first + count):
        random_calls.check(number, programs)


@pytest.mark.parametrize("first", range(0, 50, 10))
def test_random_calls_equal_their_definition(first):
    check(first, 10)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(50, 550, 50))
def test_many_random_calls_equal_their_definition(first):
    check(first, 50)
