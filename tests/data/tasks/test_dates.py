"""Dates: read back by the standard library, and by hand."""

import datetime
import random
import re

import pytest

from attention_jax.data.tasks.dates import (
    _FORMATS,
    _MONTHS,
    _WEEKDAYS,
    _date_of,
    _ordinal,
    _written,
    dates,
)

FORMATS = (
    "%Y-%m-%d",
    "%m/%d/%Y",
    "%d.%m.%Y",
    "%d %B %Y",
    "%d %b %Y",
    "%B %d, %Y",
    "%b %d, %Y",
    "%d of %B %Y",
    "the %d of %B, %Y",
)
PREFIXES = ("", "%a ", "%A, ", "on %A, ")
BY_HAND = {
    0: "1998-03-03",
    1: "3/3/1998",
    2: "3.3.1998",
    3: "3 March 1998",
    4: "3 Mar 1998",
    5: "March 3, 1998",
    6: "Mar 3, 1998",
    7: "March 3rd, 1998",
    8: "3rd of March 1998",
    9: "the 3rd of March, 1998",
}


def oracle(source):
    """Every reading that `strptime` finds, with its weekday checked."""
    source = re.sub(r"(\d)(st|nd|rd|th)\b", r"\1", source)
    readings = set()
    for prefix in PREFIXES:
        for form in FORMATS:
            try:
                date = datetime.datetime.strptime(source, prefix + form).date()
            except ValueError:
                continue
            if (
                not prefix
                or date.strftime(prefix + form).split()[0] == source.split()[0]
                or (prefix == "on %A, " and date.strftime("%A,") == source.split()[1])
            ):
                readings.add(date.isoformat())
    return readings


@pytest.mark.slow
def test_each_source_has_one_reading():
    task = dates(train_size=1500, validation_size=10, test_size=200)
    for example in [*task.train, *task.tests["test"], *task.tests["longer"]]:
        assert oracle(example.source) == set(example.references), example


@pytest.mark.parametrize("form", BY_HAND)
def test_forms_are_those_of_the_table(form):
    assert _written(datetime.date(1998, 3, 3), _FORMATS[form]) == BY_HAND[form]
    assert len(_FORMATS) == len(BY_HAND)


def test_the_example_of_the_documentation():
    day = datetime.date(1998, 3, 3)
    assert _written(day, "{weekday}, {day} {name} {year}") == "Tuesday, 3 March 1998"


def test_slashes_put_the_month_first_and_dots_the_day():
    assert oracle("3/4/1998") == {"1998-03-04"}
    assert oracle("3.4.1998") == {"1998-04-03"}


def test_ordinals():
    written = [_ordinal(day) for day in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30, 31)]
    assert written == "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 23rd 30th 31st".split()


def test_lengths_part_the_tests():
    task = dates(max_length=20, train_size=2000, validation_size=10, test_size=300)
    assert max(len(example.source) for example in task.train) == 20
    assert min(len(example.source) for example in task.tests["longer"]) == 21
    with pytest.raises(ValueError, match="between 10 and 35.*; got 50"):
        dates(max_length=50)


@pytest.mark.slow
def test_every_month_weekday_and_form_is_learned():
    text = " ".join(example.source for example in dates(test_size=1).train)
    for word in [*_MONTHS, *_WEEKDAYS, "Sep ", "Thu ", "the ", "of ", "on "]:
        assert word in text


@pytest.mark.parametrize(("edge", "day"), [(min, "1900-01-01"), (max, "2099-12-31")])
def test_dates_go_from_1900_to_2099(edge, day):
    class Edge(random.Random):
        def randint(self, a, b):
            return edge(a, b)

    _, target = _date_of(range(100))(Edge(0))
    assert target == day
