"""Tasks on lists: copies, reversals and sorted lists of numbers."""

import collections

import pytest

from attention_jax.data.tasks.lists import ListConfig, copy, reverse, sort


def test_copies_are_the_sources():
    task = copy(ListConfig(train_size=200, validation_size=10, test_size=20))
    for example in [*task.train, *task.tests["longer"]]:
        assert example.references == (example.source,)


def test_lengths_and_numbers_are_within_bounds():
    task = copy(
        ListConfig(train_size=500, validation_size=10, test_size=50, vocabulary=7, max_length=4)
    )
    assert {number for e in task.train for number in e.source.split()} == set("0123456")
    assert {len(e.source.split()) for e in task.train} == {1, 2, 3, 4}
    assert {len(e.source.split()) for e in task.tests["longer"]} <= set(range(5, 31))


def test_reversals_run_backwards():
    task = reverse(ListConfig(train_size=200, validation_size=10, test_size=20))
    for example in [*task.train, *task.validation, *task.tests["longer"]]:
        source, target = example.source.split(), example.references[0].split()
        assert len(source) == len(target)
        for k in range(len(source)):
            assert target[k] == source[len(source) - 1 - k]


@pytest.mark.slow
def test_the_defaults_are_those_of_joeynmt():
    task = reverse(ListConfig())
    assert (len(task.train), len(task.validation), len(task.tests["test"])) == (40_000, 1000, 1000)
    assert {int(number) for e in task.train for number in e.source.split()} == set(range(50))
    assert {len(e.source.split()) for e in task.tests["test"]} <= set(range(1, 26))
    assert {len(e.source.split()) for e in task.tests["longer"]} == set(range(26, 31))


def test_sorted_targets_rise_and_hold_the_same_numbers():
    task = sort(ListConfig(train_size=200, validation_size=10, test_size=20))
    for example in [*task.train, *task.validation, *task.tests["longer"]]:
        target = [int(number) for number in example.references[0].split()]
        assert all(a <= b for a, b in zip(target, target[1:], strict=False))
        assert collections.Counter(map(str, target)) == collections.Counter(example.source.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": 1}, "`vocabulary` must be at least 2; got 1"),
        ({"max_length": 0}, "max_length=0, longer_length=6"),
        ({"max_length": 6}, "max_length=6, longer_length=6"),
    ],
)
def test_lists_need_numbers_and_lengths(options, message):
    lengths = {"vocabulary": 9, "max_length": 4, "longer_length": 6, **options}
    with pytest.raises(ValueError, match=message):
        copy(ListConfig(**lengths))
