"""Tasks on lists of numbers: copying, reversing, sorting."""

import random
from collections.abc import Callable
from typing import NamedTuple

from attention_jax.core.plain_types import check_fields, typed_calls
from attention_jax.data.tasks._synthetic import Draw, Sizes, generated_task
from attention_jax.data.types import Task


class ListConfig(NamedTuple):
    """Options of tasks on lists of numbers.

    Attributes:
      vocabulary: how many different numbers there are, from 0.
      max_length: longest list in training, validation and "test"; the shortest holds 1 number.
      longer_length: longest list in the test "longer", whose shortest is `max_length + 1`.
      train_size: training examples.
      validation_size: validation examples.
      test_size: examples in each of the two tests.
      seed: seed of the examples.
    """

    vocabulary: int = 50
    max_length: int = 25
    longer_length: int = 30
    train_size: int = 40_000
    validation_size: int = 1000
    test_size: int = 1000
    seed: int = 0


@typed_calls
def copy(config: ListConfig) -> Task:
    """Copying a list, which attention does in one look.

        "17 3 42" -> "17 3 42"

    Raises:
      ValueError: a number is out of range.
    """
    return _task("copy", lambda numbers: numbers, config)


@typed_calls
def reverse(config: ListConfig) -> Task:
    """Reversing a list, with an alignment that runs backwards.

        "17 3 42" -> "42 3 17"

    Raises:
      ValueError: a number is out of range.

    Reference: the reverse task of JoeyNMT, Kreutzer et al. 2019, arXiv:1907.12484; here longer
    lists are a test of their own.
    """
    return _task("reverse", lambda numbers: numbers[::-1], config)


@typed_calls
def sort(config: ListConfig) -> Task:
    """Sorting a list, where every output depends on the whole input.

        "17 3 42" -> "3 17 42"

    Raises:
      ValueError: a number is out of range.
    """
    return _task("sort", sorted, config)


def _task(name: str, answer: Callable[[list[int]], list[int]], config: ListConfig) -> Task:
    check_fields(config)
    if config.vocabulary < 2:
        raise ValueError(f"`vocabulary` must be at least 2; got {config.vocabulary}.")
    if not 1 <= config.max_length < config.longer_length:
        raise ValueError(
            "`max_length` must be at least 1 and below `longer_length`; "
            f"got max_length={config.max_length}, longer_length={config.longer_length}."
        )

    def draw_between(shortest: int, longest: int) -> Draw:
        def draw(rng: random.Random) -> tuple[str, str]:
            length = rng.randint(shortest, longest)
            numbers = [rng.randrange(config.vocabulary) for _ in range(length)]
            return _text(numbers), _text(answer(numbers))

        return draw

    return generated_task(
        name,
        draw_between(1, config.max_length),
        draw_between(config.max_length + 1, config.longer_length),
        tokenizer="word",
        sizes=Sizes(config.train_size, config.validation_size, config.test_size),
        seed=config.seed,
    )


def _text(numbers: list[int]) -> str:
    return " ".join(map(str, numbers))
