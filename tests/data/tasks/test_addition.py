"""Addition: targets by counting columns, the way it is done on paper."""

import itertools

import pytest

from attention_jax.data.tasks.addition import addition

SIZES = {"train_size": 2000, "validation_size": 50, "test_size": 200}


def on_paper(left, right):
    """Adds two numbers column by column, from the right."""
    columns = itertools.zip_longest(reversed(left), reversed(right), fillvalue="0")
    carry, digits = 0, []
    for a, b in columns:
        carry, digit = divmod("0123456789".index(a) + "0123456789".index(b) + carry, 10)
        digits.append(str(digit))
    return "".join(reversed(digits + ["1"] * carry))


def test_targets_are_sums():
    task = addition(**SIZES)
    for example in [*task.train, *task.tests["test"], *task.tests["longer"]]:
        assert example.references == (on_paper(*example.source.split("+")),)


def test_operands_have_the_digits_asked_for():
    task = addition(**SIZES, digits=2, longer_digits=5)
    assert {len(x) for e in task.train for x in e.source.split("+")} == {1, 2}
    assert {len(x) for e in task.tests["longer"] for x in e.source.split("+")} == {5}
    assert not any(x[0] == "0" for e in task.train for x in e.source.split("+") if len(x) > 1)


def test_no_test_sum_was_learned_the_other_way_round():
    task = addition(digits=2, train_size=2000, validation_size=50, test_size=500)
    learned = {frozenset(example.source.split("+")) for example in task.train}
    assert not learned & {frozenset(example.source.split("+")) for example in task.tests["test"]}


def test_digits_must_grow():
    with pytest.raises(ValueError, match="got digits=3, longer_digits=3"):
        addition(digits=3, longer_digits=3)
