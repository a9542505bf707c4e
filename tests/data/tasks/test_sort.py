"""Sorting: the same numbers, none before a smaller one."""

import collections

from attention_jax.data.tasks.sort import sort


def test_targets_rise_and_hold_the_same_numbers():
    task = sort(train_size=200, validation_size=10, test_size=20)
    for example in [*task.train, *task.validation, *task.tests["longer"]]:
        target = [int(number) for number in example.references[0].split()]
        assert all(a <= b for a, b in zip(target, target[1:], strict=False))
        assert collections.Counter(map(str, target)) == collections.Counter(example.source.split())
