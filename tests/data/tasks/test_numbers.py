"""Spanish numbers, against a list checked by hand and rules of the academy."""

import pytest

from attention_jax.data.tasks.numbers import in_words, numbers

BY_HAND = {
    0: "cero",
    1: "uno",
    7: "siete",
    10: "diez",
    11: "once",
    15: "quince",
    16: "dieciséis",
    18: "dieciocho",
    20: "veinte",
    21: "veintiuno",
    22: "veintidós",
    23: "veintitrés",
    26: "veintiséis",
    29: "veintinueve",
    30: "treinta",
    31: "treinta y uno",
    58: "cincuenta y ocho",
    90: "noventa",
    99: "noventa y nueve",
    100: "cien",
    101: "ciento uno",
    116: "ciento dieciséis",
    200: "doscientos",
    500: "quinientos",
    555: "quinientos cincuenta y cinco",
    700: "setecientos",
    901: "novecientos uno",
    999: "novecientos noventa y nueve",
    1000: "mil",
    1001: "mil uno",
    1100: "mil cien",
    2000: "dos mil",
    2021: "dos mil veintiuno",
    16_000: "dieciséis mil",
    21_000: "veintiún mil",
    21_345: "veintiún mil trescientos cuarenta y cinco",
    31_031: "treinta y un mil treinta y uno",
    100_000: "cien mil",
    100_100: "cien mil cien",
    101_000: "ciento un mil",
    121_021: "ciento veintiún mil veintiuno",
    200_500: "doscientos mil quinientos",
    701_001: "setecientos un mil uno",
    999_999: "novecientos noventa y nueve mil novecientos noventa y nueve",
    1_000_000: "un millón",
    1_000_101: "un millón ciento uno",
    2_001_000: "dos millones mil",
    21_000_001: "veintiún millones uno",
    101_101_101: "ciento un millones ciento un mil ciento uno",
    100_000_000: "cien millones",
}


@pytest.mark.parametrize("number", BY_HAND)
def test_numbers_checked_by_hand(number):
    assert in_words(number) == BY_HAND[number]


def value(words):
    """Adds up words, thousands and millions: the way back."""
    ones = {in_words(n): n for n in range(1, 30)}
    ones |= {"un": 1, "veintiún": 21, "cien": 100, "ciento": 100, "y": 0}
    ones |= {in_words(n): n for n in [*range(30, 100, 10), *range(200, 1000, 100)]}
    total = group = 0
    for word in words.split():
        if word == "mil":
            total, group = total + 1000 * max(group, 1), 0
        elif word in ("millón", "millones"):
            total, group = 10**6 * (total + group), 0
        else:
            group += ones[word]
    return total + group


@pytest.mark.slow
def test_words_say_the_number():
    for number in [*range(1, 1200), *range(1200, 10**6, 4999), *range(10**6, 10**9, 9_999_991)]:
        assert value(in_words(number)) == number


@pytest.mark.slow
def test_no_two_numbers_sound_alike():
    assert len({in_words(number) for number in range(10**4)}) == 10**4


@pytest.mark.parametrize("number", [-1, 10**9])
def test_numbers_out_of_range(number):
    with pytest.raises(ValueError, match="between 0 and 999,999,999; got"):
        in_words(number)


def test_the_task_says_its_sources():
    task = numbers(train_size=1000, validation_size=10, test_size=100)
    for example in [*task.train, *task.tests["test"], *task.tests["longer"]]:
        assert example.references == (in_words(int(example.source)),)
    assert {len(example.source) for example in task.train} == {1, 2, 3, 4, 5}
    assert {len(example.source) for example in task.tests["longer"]} == {6}


@pytest.mark.slow
def test_longer_numbers_need_no_new_word():
    task = numbers()
    learned = {word for example in task.train for word in example.references[0].split()}
    longer = {word for example in task.tests["longer"] for word in example.references[0].split()}
    assert longer <= learned


@pytest.mark.parametrize("digits", [(0, 6), (5, 5), (5, 10)])
def test_digits_must_grow(digits):
    with pytest.raises(ValueError, match=f"got digits={digits[0]}, longer_digits={digits[1]}"):
        numbers(digits=digits[0], longer_digits=digits[1])
