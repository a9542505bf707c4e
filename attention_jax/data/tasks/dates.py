"""Dates as people write them to ISO 8601: short, but each output looks elsewhere."""

import datetime
import random

from attention_jax.core.plain_types import typed_calls
from attention_jax.data.tasks._synthetic import Draw, Sizes, generated_task
from attention_jax.data.types import Task

_MONTHS = (
    "January February March April May June July August September October November December"
).split()
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_FIRST, _LAST = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)

# Slashes put the month first, dots the day; years have four digits.
_FORMATS = (
    "{year}-{month:02}-{day:02}",
    "{month}/{day}/{year}",
    "{day}.{month}.{year}",
    "{day} {name} {year}",
    "{day} {short} {year}",
    "{name} {day}, {year}",
    "{short} {day}, {year}",
    "{name} {ordinal}, {year}",
    "{ordinal} of {name} {year}",
    "the {ordinal} of {name}, {year}",
)
_PREFIXES = ("", "", "{short_weekday} ", "{weekday}, ", "on {weekday}, ")


@typed_calls
def dates(
    *,
    max_length: int = 24,
    train_size: int = 20_000,
    validation_size: int = 1000,
    test_size: int = 1000,
    seed: int = 0,
) -> Task:
    """Dates of 1900 to 2099 in some fifty English forms, and their ISO dates.

        "Tuesday, 3 March 1998" -> "1998-03-03"

    Every source has one correct answer: slashes put the month first (3/4/1998 is 4 March), dots the
    day (3.4.1998 is 3 April), years have four digits, and a weekday is always the true one.

    Args:
      max_length: most characters of a source in training, validation and "test". The test
        "longer" has longer instances of the same forms, such as
        "on Wednesday, the 23rd of September, 1998".
      train_size: training examples.
      validation_size: validation examples.
      test_size: examples in each of the two tests.
      seed: seed of the examples.

    Raises:
      ValueError: a `max_length` that leaves one side without dates, or sizes too large.
    """
    if not 10 <= max_length <= 35:
        raise ValueError(
            "`max_length` must lie between 10 and 35, for the shortest and longest forms have 8 "
            f"and 41 characters; got {max_length}."
        )
    return generated_task(
        "dates",
        _date_of(range(max_length + 1)),
        _date_of(range(max_length + 1, 100)),
        tokenizer="character",
        sizes=Sizes(train_size, validation_size, test_size),
        seed=seed,
    )


def _date_of(lengths: range) -> Draw:
    """Draws dates written in a given number of characters."""

    def draw(rng: random.Random) -> tuple[str, str]:
        while True:
            date = datetime.date.fromordinal(rng.randint(_FIRST.toordinal(), _LAST.toordinal()))
            source = _written(date, rng.choice(_PREFIXES) + rng.choice(_FORMATS))
            if len(source) in lengths:
                return source, date.isoformat()

    return draw


def _written(date: datetime.date, form: str) -> str:
    name, weekday = _MONTHS[date.month - 1], _WEEKDAYS[date.weekday()]
    return form.format(
        year=date.year,
        month=date.month,
        day=date.day,
        name=name,
        short=name[:3],
        ordinal=_ordinal(date.day),
        weekday=weekday,
        short_weekday=weekday[:3],
    )


def _ordinal(day: int) -> str:
    """1st, 2nd, 3rd, 4th ...; 11th, 12th and 13th are exceptions."""
    ending = "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{ending}"
