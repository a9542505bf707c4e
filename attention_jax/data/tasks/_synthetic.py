"""Synthetic tasks: splits of generated examples in which no source is repeated."""

import random
from collections.abc import Callable
from typing import NamedTuple

from attention_jax.core import checks
from attention_jax.data.types import Example, Task

# (random) -> (source, the one right target)
Draw = Callable[[random.Random], tuple[str, str]]

_TRIES = 200  # consecutive repeats before a space counts as exhausted


class Sizes(NamedTuple):
    """Numbers of examples: for training, for validation, and in each of the two tests."""

    train_size: int
    validation_size: int
    test_size: int


def generated_task(
    name: str,
    draw: Draw,
    draw_longer: Draw,
    *,
    tokenizer: str,
    sizes: Sizes,
    seed: int,
    same: Callable[[str], str] = str,
) -> Task:
    """A task of random examples, the same for the same seed.

    Training, validation and "test" are drawn together without repetition and split at random, so
    that they have the same distribution. "longer" is drawn apart and shares no source with them.

    Args:
      name: name of the task; with `seed` it chooses the examples.
      draw: draws an example of training, validation or "test".
      draw_longer: draws an example of "longer".
      tokenizer: kind of tokenizer that suits the text.
      sizes: numbers of examples.
      seed: any integer.
      same: maps sources that count as the same to the same text.

    Raises:
      ValueError: a size is below 1, or there are fewer examples than requested.
    """
    for argument, size in sizes._asdict().items():
        checks.positive(argument, size)
    rng, longer_rng = random.Random(f"{name} {seed}"), random.Random(f"{name} longer {seed}")
    taken: set[str] = set()
    pool = _distinct(draw, sum(sizes), rng=rng, taken=taken, same=same)
    rng.shuffle(pool)
    longer = _distinct(draw_longer, sizes.test_size, rng=longer_rng, taken=taken, same=same)
    validation_end = sizes.train_size + sizes.validation_size
    return Task(
        name=name,
        train=pool[: sizes.train_size],
        validation=pool[sizes.train_size : validation_end],
        tests={"test": pool[validation_end:], "longer": longer},
        tokenizer=tokenizer,
    )


def _distinct(
    draw: Draw,
    count: int,
    *,
    rng: random.Random,
    taken: set[str],
    same: Callable[[str], str],
) -> list[Example]:
    """Draws `count` examples whose sources are not in `taken`, and adds them to it."""
    examples: list[Example] = []
    vain = 0
    while len(examples) < count:
        source, target = draw(rng)
        key = same(source)
        vain = vain + 1 if key in taken else 0
        if vain == _TRIES:
            raise ValueError(
                "`train_size`, `validation_size` and `test_size` must not ask for more examples "
                f"than there are; {count} were to be drawn at once, and only {len(examples)} "
                "different ones were found. Ask for fewer."
            )
        if vain == 0:
            taken.add(key)
            examples.append(Example(source, (target,)))
    return examples
