"""Numbers to Spanish words: short inputs, long outputs."""

import random

from attention_jax.core.plain_types import typed_calls
from attention_jax.data.tasks._synthetic import Draw, Sizes, generated_task
from attention_jax.data.types import Task

_BELOW_30 = (
    "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince "
    "dieciséis diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro "
    "veinticinco veintiséis veintisiete veintiocho veintinueve"
).split()
_TENS = "treinta cuarenta cincuenta sesenta setenta ochenta noventa".split()  # from 30
_HUNDREDS = (
    "ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos "
    "novecientos"
).split()


@typed_calls
def numbers(
    *,
    digits: int = 5,
    longer_digits: int = 6,
    train_size: int = 20_000,
    validation_size: int = 1000,
    test_size: int = 1000,
    seed: int = 0,
) -> Task:
    """Numbers in digits, and in Spanish words.

        "21345" -> "veintiún mil trescientos cuarenta y cinco"

    Numbers of few digits are as likely as those of many, until they are used up. With the default
    options every word of "longer" is known from training; 7 digits would need "millón", which
    no shorter number has.

    Args:
      digits: most digits of a number in training, validation and "test".
      longer_digits: digits of the numbers in the test "longer", at most 9.
      train_size: training examples.
      validation_size: validation examples.
      test_size: examples in each of the two tests.
      seed: seed of the examples.

    Raises:
      ValueError: digits out of order, or more examples requested than there are.
    """
    if not 1 <= digits < longer_digits <= 9:
        raise ValueError(
            "`digits` must be at least 1 and below `longer_digits`, which is at most 9; "
            f"got digits={digits}, longer_digits={longer_digits}."
        )
    return generated_task(
        "numbers",
        _number_of(range(1, digits + 1)),
        _number_of(range(longer_digits, longer_digits + 1)),
        tokenizer="character",
        sizes=Sizes(train_size, validation_size, test_size),
        seed=seed,
    )


def in_words(number: int) -> str:
    """Spanish words of a cardinal number below 10^9.

    Raises:
      ValueError: the number is out of range.

    >>> in_words(21_345)
    'veintiún mil trescientos cuarenta y cinco'
    >>> in_words(1_000_101)
    'un millón ciento uno'
    """
    if not 0 <= number < 10**9:
        raise ValueError(f"`number` must lie between 0 and 999,999,999; got {number}.")
    if number == 0:
        return _BELOW_30[0]
    millions, rest = divmod(number, 10**6)
    thousands, units = divmod(rest, 1000)
    parts = []
    if millions:
        parts += [
            _below_1000(millions, counting_noun=True),
            "millones" if millions > 1 else "millón",
        ]
    if thousands:  # 1000 is "mil", not "un mil"
        parts += [_below_1000(thousands, counting_noun=True)] * (thousands > 1) + ["mil"]
    if units:
        parts.append(_below_1000(units, counting_noun=False))
    return " ".join(parts)


def _below_1000(number: int, *, counting_noun: bool) -> str:
    """Words of 1 to 999; "uno" becomes "un" before a noun."""
    if number == 100:
        return "cien"
    hundreds, rest = divmod(number, 100)
    words = " ".join([_HUNDREDS[hundreds - 1]] * (hundreds > 0) + [_below_100(rest)] * (rest > 0))
    if not counting_noun:
        return words
    if words.endswith("veintiuno"):
        return words.removesuffix("uno") + "ún"
    return words.removesuffix("o") if words.endswith("uno") else words


def _below_100(number: int) -> str:
    if number < 30:
        return _BELOW_30[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens - 3] + (f" y {_BELOW_30[ones]}" if ones else "")


def _number_of(lengths: range) -> Draw:
    """Draws numbers with a given number of digits."""

    def draw(rng: random.Random) -> tuple[str, str]:
        length = rng.choice(lengths)
        number = rng.randrange(10 ** (length - 1) if length > 1 else 0, 10**length)
        return str(number), in_words(number)

    return draw
