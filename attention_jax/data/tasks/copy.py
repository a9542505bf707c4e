"""Copying a list of numbers: what attention does in one look."""

from attention_jax.data.tasks._synthetic import sequence_task
from attention_jax.data.types import Task


def copy(
    *,
    vocabulary: int = 50,
    max_length: int = 25,
    longer_length: int = 30,
    train_size: int = 40_000,
    validation_size: int = 1000,
    test_size: int = 1000,
    seed: int = 0,
) -> Task:
    """Sources are lists of numbers, targets the same lists.

        "17 3 42" -> "17 3 42"

    Args:
      vocabulary: how many different numbers there are, from 0.
      max_length: longest list in training, validation and "test"; the shortest holds 1 number.
      longer_length: longest list in the test "longer", whose shortest is `max_length + 1`.
      train_size: training examples.
      validation_size: validation examples.
      test_size: examples in each of the two tests.
      seed: chooses the examples.

    Raises:
      ValueError: sizes or lengths that leave nothing to draw.
    """
    return sequence_task(
        "copy",
        lambda numbers: numbers,
        vocabulary=vocabulary,
        max_length=max_length,
        longer_length=longer_length,
        train_size=train_size,
        validation_size=validation_size,
        test_size=test_size,
        seed=seed,
    )
