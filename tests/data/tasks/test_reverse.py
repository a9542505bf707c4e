"""Reversing: the k-th number of the target is the k-th from the end of the source."""

from attention_jax.data.tasks.reverse import reverse


def test_targets_run_backwards():
    task = reverse(train_size=200, validation_size=10, test_size=20)
    for example in [*task.train, *task.validation, *task.tests["longer"]]:
        source, target = example.source.split(), example.references[0].split()
        assert len(source) == len(target)
        for k in range(len(source)):
            assert target[k] == source[len(source) - 1 - k]


def test_the_defaults_are_those_of_joeynmt():
    task = reverse()
    assert (len(task.train), len(task.validation), len(task.tests["test"])) == (40_000, 1000, 1000)
    assert {int(number) for e in task.train for number in e.source.split()} == set(range(50))
    assert {len(e.source.split()) for e in task.tests["test"]} <= set(range(1, 26))
    assert {len(e.source.split()) for e in task.tests["longer"]} == set(range(26, 31))
