"""The lexicon has all forms of its words, and no word twice."""

import pytest

from attention_jax.data.tasks import _spanish_lexicon as lexicon

NOUNS = (*lexicon.PEOPLE, *lexicon.THINGS, *lexicon.PLACES)
ADJECTIVES = (*lexicon.OF_PEOPLE, *lexicon.OF_THINGS)


@pytest.mark.parametrize("words", [NOUNS, ADJECTIVES], ids=["nouns", "adjectives"])
def test_no_word_comes_twice(words):
    assert len({word.english for word in words}) == len({word.spanish for word in words})
    assert len({word.english for word in words}) == len(words)


def test_plurals_differ_and_end_in_s():
    for noun in NOUNS:
        assert len(noun.english) == len(noun.spanish) == 2
        assert noun.spanish[0] != noun.spanish[1] and noun.spanish[1].endswith("s")
        assert noun.english[0] != noun.english[1]


def test_endings_tell_the_gender_where_they_do():
    for noun in NOUNS:
        ending = noun.spanish[0][-1]
        assert noun.feminine == {"a": True, "o": False}.get(ending, noun.feminine)
    masculine = {"hombre", "rey", "pastel", "coche", "parque", "jardín"}
    feminine = {"mujer", "calle"}
    odd = {noun.spanish[0]: noun.feminine for noun in NOUNS if noun.spanish[0][-1] not in "ao"}
    assert odd == {**dict.fromkeys(masculine, False), **dict.fromkeys(feminine, True)}


def test_adjectives_have_four_forms_and_a_copula():
    for adjective in ADJECTIVES:
        one, one_feminine, many, many_feminine = adjective.spanish
        assert adjective.copula in lexicon.COPULAS
        assert many.endswith("s") and many_feminine.endswith("s")
        if one.endswith("o"):
            assert one_feminine == one[:-1] + "a"
            assert (many, many_feminine) == (one + "s", one_feminine + "s")


def test_verbs_have_five_persons_and_objects_of_a_kind():
    for verb in lexicon.VERBS:
        first, second, third, we, they = verb.spanish
        assert first.endswith("o") and second == third + "s" and they == third + "n"
        assert we.endswith("mos")
        assert verb.third.split()[0] == verb.base.split()[0] + "s"
        assert verb.objects in {*lexicon.OBJECTS, "nothing"}
    assert len({verb.base for verb in lexicon.VERBS}) == len(lexicon.VERBS)


def test_determiners_are_of_one_or_of_many():
    one, many = lexicon.DETERMINERS
    assert not {d.english for d in one} & {d.english for d in many} - {"the", "my"}
    assert all(d.spanish[1].endswith("s") for d in many)
