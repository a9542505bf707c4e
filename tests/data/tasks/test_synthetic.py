"""Generated splits: as many as asked for, alike, and apart."""

import pytest

from attention_jax.data.tasks._synthetic import Sizes, generated_task

SIZES = Sizes(30, 5, 5)


def small(rng):
    number = rng.randrange(60)
    return str(number), str(number + 1)


def large(rng):
    number = rng.randrange(60, 90)
    return str(number), str(number + 1)


def task(draw=small, draw_longer=large, *, seed=0, same=str, **sizes):
    own = SIZES._replace(**sizes)
    return generated_task(
        "count", draw, draw_longer, tokenizer="word", sizes=own, seed=seed, same=same
    )


def test_splits_have_the_sizes_asked_for():
    made = task()
    assert (len(made.train), len(made.validation)) == (30, 5)
    assert {name: len(examples) for name, examples in made.tests.items()} == {
        "test": 5,
        "longer": 5,
    }


def test_no_source_comes_twice():
    made = task(draw_longer=small)
    examples = [*made.train, *made.validation, *made.tests["test"], *made.tests["longer"]]
    assert len({example.source for example in examples}) == len(examples) == 45


def test_sources_may_count_as_the_same():
    parity = {"train_size": 3, "validation_size": 1, "test_size": 1}
    made = task(same=lambda source: source[-1], draw_longer=small, **parity)
    examples = [*made.train, *made.validation, *made.tests["test"], *made.tests["longer"]]
    assert len({example.source[-1] for example in examples}) == len(examples) == 6


def test_the_seed_decides():
    assert task(seed=3) == task(seed=3)
    assert task(seed=3) != task(seed=4)


def test_a_space_can_be_used_up_but_not_overdrawn():
    assert len(task(train_size=40).train) == 40
    with pytest.raises(ValueError, match="must not ask for more examples than there are; 70"):
        task(train_size=60)


@pytest.mark.parametrize("argument", ["train_size", "validation_size", "test_size"])
def test_no_split_is_empty(argument):
    with pytest.raises(
        ValueError, match=f"`{argument}` must be a whole number of at least 1; got 0"
    ):
        task(**{argument: 0})
