"""Splits of generated examples in which no source comes twice."""

import random
from collections.abc import Callable

from attention_jax.data.types import Example, Task

# (random) -> (source, the one right target)
Draw = Callable[[random.Random], tuple[str, str]]

_TRIES = 200  # draws in vain, one after the other, before a space counts as exhausted


def generated_task(
    name: str,
    draw: Draw,
    draw_longer: Draw,
    *,
    tokenizer: str,
    train_size: int,
    validation_size: int,
    test_size: int,
    seed: int,
    same: Callable[[str], str] = str,
) -> Task:
    """A task whose examples are drawn at random, the same ones for the same seed.

    Training, validation and "test" are one pool, drawn without repetition and cut at random, so
    that they are distributed alike. "longer" is drawn apart, and shares no source with them.

    Args:
      name: name of the task; with `seed` it chooses the examples.
      draw: one example of the pool.
      draw_longer: one example of "longer".
      tokenizer: kind of vocabulary that suits the text.
      train_size: training examples.
      validation_size: validation examples.
      test_size: examples in each of "test" and "longer".
      seed: any integer.
      same: maps sources that must not count as different to the same text.

    Raises:
      ValueError: a size below 1, or more examples asked for than there are.
    """
    sizes = {"train_size": train_size, "validation_size": validation_size, "test_size": test_size}
    for argument, size in sizes.items():
        if size < 1:
            raise ValueError(f"`{argument}` must be at least 1; got {size}.")
    rng, longer_rng = random.Random(f"{name} {seed}"), random.Random(f"{name} longer {seed}")
    taken: set[str] = set()
    pool = _distinct(draw, sum(sizes.values()), rng=rng, taken=taken, same=same)
    rng.shuffle(pool)
    longer = _distinct(draw_longer, test_size, rng=longer_rng, taken=taken, same=same)
    validation_end = train_size + validation_size
    return Task(
        name=name,
        train=pool[:train_size],
        validation=pool[train_size:validation_end],
        tests={"test": pool[validation_end:], "longer": longer},
        tokenizer=tokenizer,
    )


def sequence_task(
    name: str,
    answer: Callable[[list[int]], list[int]],
    *,
    vocabulary: int,
    max_length: int,
    longer_length: int,
    train_size: int,
    validation_size: int,
    test_size: int,
    seed: int,
) -> Task:
    """A task on lists of numbers below `vocabulary`, of 1 to `max_length` of them.

    "longer" holds lists of `max_length + 1` to `longer_length` numbers.

    Raises:
      ValueError: a vocabulary below 2, or lengths out of order.
    """
    if vocabulary < 2:
        raise ValueError(f"`vocabulary` must be at least 2; got {vocabulary}.")
    if not 1 <= max_length < longer_length:
        raise ValueError(
            "`max_length` must be at least 1 and below `longer_length`; "
            f"got max_length={max_length}, longer_length={longer_length}."
        )

    def draw_between(shortest: int, longest: int) -> Draw:
        def draw(rng: random.Random) -> tuple[str, str]:
            numbers = [rng.randrange(vocabulary) for _ in range(rng.randint(shortest, longest))]
            return _text(numbers), _text(answer(numbers))

        return draw

    draw, draw_longer = draw_between(1, max_length), draw_between(max_length + 1, longer_length)
    return generated_task(
        name,
        draw,
        draw_longer,
        tokenizer="word",
        train_size=train_size,
        validation_size=validation_size,
        test_size=test_size,
        seed=seed,
    )


def _text(numbers: list[int]) -> str:
    return " ".join(map(str, numbers))


def _distinct(
    draw: Draw,
    count: int,
    *,
    rng: random.Random,
    taken: set[str],
    same: Callable[[str], str],
) -> list[Example]:
    """Draws `count` examples whose sources are new to `taken`, and adds them to it."""
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
