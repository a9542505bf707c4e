"""Copying: the target is the source."""

from attention_jax.data.tasks.copy import copy


def test_targets_are_the_sources():
    task = copy(train_size=200, validation_size=10, test_size=20)
    for example in [*task.train, *task.tests["longer"]]:
        assert example.references == (example.source,)


def test_lengths_and_numbers_are_within_bounds():
    task = copy(train_size=500, validation_size=10, test_size=50, vocabulary=7, max_length=4)
    assert {number for e in task.train for number in e.source.split()} == set("0123456")
    assert {len(e.source.split()) for e in task.train} == {1, 2, 3, 4}
    assert {len(e.source.split()) for e in task.tests["longer"]} <= set(range(5, 31))
