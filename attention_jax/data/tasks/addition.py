"""Addition of two numbers, digit by digit: carries need all digits of both."""

import random

from attention_jax.core.plain_types import typed_calls
from attention_jax.data.tasks._synthetic import Draw, Sizes, generated_task
from attention_jax.data.types import Task


@typed_calls
def addition(
    *,
    digits: int = 3,
    longer_digits: int = 4,
    train_size: int = 45_000,
    validation_size: int = 1000,
    test_size: int = 1000,
    seed: int = 0,
) -> Task:
    """Sums of two numbers, and their values.

        "123+45" -> "168"

    An operand is as likely to have 1 digit as any number up to `digits`; nothing is padded.
    "12+345" and "345+12" count as one sum, so that no test sum is in training in the other order.

    Args:
      digits: most digits of an operand in training, validation and "test".
      longer_digits: digits of both operands in the test "longer".
      train_size: training examples.
      validation_size: validation examples.
      test_size: examples in each of the two tests.
      seed: seed of the examples.

    Raises:
      ValueError: digits out of order, or a size below 1.

    Reference: the addition example of Keras, "Sequence to sequence learning for performing
    number addition"; ours does not pad with spaces.
    """
    if not 1 <= digits < longer_digits:
        raise ValueError(
            "`digits` must be at least 1 and below `longer_digits`; "
            f"got digits={digits}, longer_digits={longer_digits}."
        )
    return generated_task(
        "addition",
        _sum_of(range(1, digits + 1)),
        _sum_of(range(longer_digits, longer_digits + 1)),
        same=_in_order,
        tokenizer="character",
        sizes=Sizes(train_size, validation_size, test_size),
        seed=seed,
    )


def _sum_of(lengths: range) -> Draw:
    """Draws sums of operands with a given number of digits."""

    def operand(rng: random.Random) -> int:
        length = rng.choice(lengths)
        return rng.randrange(10 ** (length - 1) if length > 1 else 0, 10**length)

    def draw(rng: random.Random) -> tuple[str, str]:
        left, right = operand(rng), operand(rng)
        return f"{left}+{right}", str(left + right)

    return draw


def _in_order(source: str) -> str:
    """The same key for both orders of a sum."""
    return "+".join(sorted(source.split("+")))
