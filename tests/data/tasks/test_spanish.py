"""What the task draws, against rules of English and Spanish; see also test_spanish_grammar.py."""

import inspect
import random
import re

import pytest

from attention_jax.data.tasks import _spanish_lexicon
from attention_jax.data.tasks import spanish as module
from attention_jax.data.tasks.spanish import sentence, spanish


@pytest.fixture(scope="module")
def drawn():
    rng = random.Random(0)
    return [sentence(rng) for _ in range(6000)]


def test_plain_clauses_alone_are_more_than_100_000():
    """Of determiner person verb determiner object, affirmed or denied, and no other."""
    determiners = sum(map(len, _spanish_lexicon.DETERMINERS))
    subjects = len(_spanish_lexicon.PEOPLE) * determiners
    kinds = [
        _spanish_lexicon.OBJECTS[verb.objects]
        for verb in _spanish_lexicon.VERBS
        if verb.objects != "nothing"
    ]
    assert subjects * sum(len(kind) * determiners for kind in kinds) * 2 > 100_000


@pytest.mark.slow
def test_an_english_sentence_has_one_translation(drawn):
    answers = {}
    for english, translation in drawn:
        assert answers.setdefault(english, translation) == translation


@pytest.mark.slow
def test_spanish_contracts_and_never_doubles(drawn):
    for _, translation in drawn:
        assert not re.search(r"\b(a|de) el\b", translation), translation
        assert not re.search(r"\by h?i", translation), translation  # would have to be "e"


def test_english_articles_and_verbs_agree(drawn):
    for english, _ in drawn:
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", english), english
        assert not re.search(r"\b(I|you|we|they) (is|does|sees)\b", english), english


def test_questions_and_negations_correspond(drawn):
    for english, translation in drawn:
        assert english.endswith("?") == translation.startswith("¿") == translation.endswith("?")
        assert len(re.findall(r"\bnot\b", english)) == len(re.findall(r"\bno\b", translation))


def test_noun_phrases_agree(drawn):
    """Determiner, noun and adjective side by side have one gender and one number."""
    nouns, adjectives, determiners = {}, {}, {}
    for noun in (*_spanish_lexicon.PEOPLE, *_spanish_lexicon.THINGS, *_spanish_lexicon.PLACES):
        for plural, form in enumerate(noun.spanish):
            nouns[form] = {(noun.feminine, bool(plural))}
    for adjective in (*_spanish_lexicon.OF_PEOPLE, *_spanish_lexicon.OF_THINGS):
        for index, form in enumerate(adjective.spanish):
            adjectives.setdefault(form, set()).add((index % 2 == 1, index > 1))
    for plural, row in enumerate(_spanish_lexicon.DETERMINERS):
        for determiner in row:
            for feminine, form in enumerate(determiner.spanish):
                determiners.setdefault(form, set()).add((feminine == 1, bool(plural)))
    determiners |= {"al": {(False, False)}, "del": {(False, False)}}
    checked = 0
    for _, translation in drawn:
        tokens = re.findall(r"\w+", translation)
        for before, noun, after in zip(["", *tokens], tokens, [*tokens[1:], ""], strict=False):
            if noun in nouns and before not in adjectives:
                assert nouns[noun] <= determiners[before], translation
                checked += 1
            copular = re.search(r"^¿|\b(es|está|son|están)\b", translation)
            if noun in nouns and after in adjectives and not copular:
                assert nouns[noun] <= adjectives[after], translation
    assert checked > 5000


@pytest.mark.slow
def test_longer_sentences_need_no_new_word():
    task = spanish(train_size=6000, validation_size=10)
    sides = [set(), set()]
    for example in task.train:
        for side, text in zip(sides, (example.source, example.references[0]), strict=True):
            side.update(re.findall(r"\w+", text))
    assert all(len(side) <= 200 for side in sides)
    for example in task.tests["longer"]:
        assert set(re.findall(r"\w+", example.source)) <= sides[0]
        assert set(re.findall(r"\w+", example.references[0])) <= sides[1]


@pytest.mark.slow
def test_lengths_part_the_tests():
    task = spanish(train_size=2000, validation_size=10, test_size=300)
    lengths = [
        {len(e.source.split()) for e in split} for split in (task.train, task.tests["longer"])
    ]
    assert lengths == [set(range(4, 13)), set(range(13, 19))]


@pytest.mark.parametrize("lengths", [(3, 9), (12, 12), (12, 25), (21, 24)])
def test_lengths_have_bounds(lengths):
    with pytest.raises(ValueError, match=f"max_words={lengths[0]}, longer_words={lengths[1]}"):
        spanish(max_words=lengths[0], longer_words=lengths[1])


@pytest.mark.slow
def test_clauses_are_drawn_with_their_shares(monkeypatch):
    def parts(subject, verb, thing, circumstances):
        return "object" if thing else "none", tuple(circumstances)

    monkeypatch.setattr(module, "_copular_clause", lambda rng: ("copular", ()))
    monkeypatch.setattr(module, "_company", lambda rng: "company")
    monkeypatch.setattr(module, "_place", lambda rng: "place")
    monkeypatch.setattr(module._spanish_grammar, "clause", parts)
    rng = random.Random(0)
    draw = inspect.unwrap(module._clause)  # whose parts are no clauses here
    drawn = [draw(rng) for _ in range(20_000)]

    def share(test, among):
        return sum(map(test, among)) / len(among)

    # Four standard errors of a share are below 0.02 everywhere.
    assert share(lambda x: x[0] == "copular", drawn) == pytest.approx(0.15, abs=0.02)
    where = [{"company", "place"} & set(x[1]) for x in drawn]
    for kind, likely in (("none", 0.7), ("object", 0.25)):
        own = [found for x, found in zip(drawn, where, strict=True) if x[0] == kind]
        assert len(own) > 2000 and share(bool, own) == pytest.approx(likely, abs=0.045)
    somewhere = [found for found in where if found]
    assert share(lambda x: x == {"company"}, somewhere) == pytest.approx(0.3, abs=0.03)
    times = [set(x[1]) - {"company", "place"} for x in drawn if x[0] != "copular"]
    assert share(bool, times) == pytest.approx(0.25, abs=0.02)
