"""The grammar, against sentences translated by hand."""

import pytest

from attention_jax.data.tasks import _spanish_grammar, _spanish_lexicon

NOUNS = (*_spanish_lexicon.PEOPLE, *_spanish_lexicon.THINGS, *_spanish_lexicon.PLACES)
ADJECTIVES = (*_spanish_lexicon.OF_PEOPLE, *_spanish_lexicon.OF_THINGS)
PRONOUNS = {pronoun.english: pronoun for pronoun in _spanish_grammar.PRONOUNS}
VERBS = {verb.base: verb for verb in _spanish_lexicon.VERBS}
NOW, EVERY_DAY = ("now", "ahora"), ("every day", "todos los días")


def phrase(text, owner=None):
    """A phrase from English, such as "many tall girls"."""
    if text in PRONOUNS:
        return PRONOUNS[text]
    *before, last = text.split()
    noun = next(noun for noun in NOUNS if last in noun.english)
    plural = last == noun.english[1]
    adjective = next((a for a in ADJECTIVES if a.english in before), None)
    determiner = owner or next(
        d
        for d in _spanish_lexicon.DETERMINERS[plural]
        if d.english == ("a" if before[0] == "an" else before[0])
    )
    return _spanish_grammar.noun_phrase(noun, determiner, plural=plural, adjective=adjective)


def says(subject, verb, thing=None, *circumstances, owner=None):
    subject = phrase(subject) if isinstance(subject, str) else subject
    if verb == "is":
        adjective = next(adjective for adjective in ADJECTIVES if adjective.english == thing)
        return _spanish_grammar.copular_clause(subject, adjective)
    thing = phrase(thing, owner) if isinstance(thing, str) else thing
    return _spanish_grammar.clause(subject, VERBS[verb], thing, circumstances)


def at(preposition, spanish, text):
    place = phrase(text)
    return f"{preposition} {place.english}", _spanish_grammar.after(spanish, place)


def both(first, second):
    return _spanish_grammar.both(phrase(first), phrase(second))


STATEMENTS = [
    (says("the girl", "sleep"), "the girl sleeps", "la niña duerme"),
    (says("I", "sing"), "I sing", "canto"),
    (says("we", "dance", None, NOW), "we dance now", "bailamos ahora"),
    (says("you", "work", None, EVERY_DAY), "you work every day", "trabajas todos los días"),
    (says("they", "sleep"), "they sleep", "ellos duermen"),
    (says("he", "read", "a letter"), "he reads a letter", "él lee una carta"),
    (says("she", "eat", "an egg"), "she eats an egg", "ella come un huevo"),
    (says("I", "want", "these apples"), "I want these apples", "quiero estas manzanas"),
    (says("he", "help", "the man"), "he helps the man", "él ayuda al hombre"),
    (says("I", "look for", "the uncle"), "I look for the uncle", "busco al tío"),
    (says("she", "look for", "a car"), "she looks for a car", "ella busca un coche"),
    (says("you", "visit", "my sisters"), "you visit my sisters", "visitas a mis hermanas"),
    (says("I", "see", "the boys"), "I see the boys", "veo a los niños"),
    (says("I", "see", "the garden"), "I see the garden", "veo el jardín"),
    (says("two women", "sing"), "two women sing", "dos mujeres cantan"),
    (says("many kings", "sleep"), "many kings sleep", "muchos reyes duermen"),
    (says("many queens", "sleep"), "many queens sleep", "muchas reinas duermen"),
    (says("we", "buy", "a red car"), "we buy a red car", "compramos un coche rojo"),
    (
        says("we", "sell", "an expensive house"),
        "we sell an expensive house",
        "vendemos una casa cara",
    ),
    (
        says("they", "want", "these blue shirts"),
        "they want these blue shirts",
        "ellos quieren estas camisas azules",
    ),
    (says("my young aunt", "sing"), "my young aunt sings", "mi tía joven canta"),
    (says("these young men", "sing"), "these young men sing", "estos hombres jóvenes cantan"),
    (
        says("I", "sing", None, at("in", "en", "the park")),
        "I sing in the park",
        "canto en el parque",
    ),
    (
        says("we", "work", None, at("near", "cerca de", "the market")),
        "we work near the market",
        "trabajamos cerca del mercado",
    ),
    (
        says("he", "work", None, at("near", "cerca de", "the school"), NOW),
        "he works near the school now",
        "él trabaja cerca de la escuela ahora",
    ),
    (
        says("I", "dance", None, at("with", "con", "the boy")),
        "I dance with the boy",
        "bailo con el niño",
    ),
    (
        says("I", "buy", "car", owner=phrase("the boy")),
        "I buy the boy's car",
        "compro el coche del niño",
    ),
    (
        says("I", "buy", "red houses", owner=phrase("my sister")),
        "I buy my sister's red houses",
        "compro las casas rojas de mi hermana",
    ),
    (
        says("I", "help", "aunt", owner=phrase("an uncle")),
        "I help an uncle's aunt",
        "ayudo a la tía de un tío",
    ),
    (
        says("I", "help", "brother", owner=phrase("the tall king")),
        "I help the tall king's brother",
        "ayudo al hermano del rey alto",
    ),
    (
        says(both("the girl", "the boy"), "sing"),
        "the girl and the boy sing",
        "la niña y el niño cantan",
    ),
    (
        says(both("the girl", "the boy"), "is", "tired"),
        "the girl and the boy are tired",
        "la niña y el niño están cansados",
    ),
    (
        says(both("the girl", "my aunts"), "is", "tired"),
        "the girl and my aunts are tired",
        "la niña y mis tías están cansadas",
    ),
    (says("the house", "is", "white"), "the house is white", "la casa es blanca"),
    (says("they", "is", "sick"), "they are sick", "ellos están enfermos"),
    (says("she", "is", "tall"), "she is tall", "ella es alta"),
]

NEGATIONS = [
    (says("I", "sing"), "I do not sing", "no canto"),
    (says("she", "eat", "the egg"), "she does not eat the egg", "ella no come el huevo"),
    (says("we", "see", "the boy"), "we do not see the boy", "no vemos al niño"),
    (says("he", "look for", "a hat"), "he does not look for a hat", "él no busca un sombrero"),
    (says("they", "sleep", None, NOW), "they do not sleep now", "ellos no duermen ahora"),
    (says("she", "is", "sick"), "she is not sick", "ella no está enferma"),
    (says("two eggs", "is", "big"), "two eggs are not big", "dos huevos no son grandes"),
]

QUESTIONS = [
    (says("you", "sing"), "do you sing?", "¿cantas?"),
    (says("she", "dance"), "does she dance?", "¿baila ella?"),
    (
        says("the girl", "eat", "a red apple"),
        "does the girl eat a red apple?",
        "¿come la niña una manzana roja?",
    ),
    (says("he", "see", "the king"), "does he see the king?", "¿ve él al rey?"),
    (says("they", "read", "my books"), "do they read my books?", "¿leen ellos mis libros?"),
    (
        says("a strong woman", "is", "tired"),
        "is a strong woman tired?",
        "¿está cansada una mujer fuerte?",
    ),
    (says("the newspapers", "is", "new"), "are the newspapers new?", "¿son nuevos los periódicos?"),
]


def names(table):
    return [row[1] for row in table]


@pytest.mark.parametrize(("clause", "english", "spanish"), STATEMENTS, ids=names(STATEMENTS))
def test_statements(clause, english, spanish):
    assert _spanish_grammar.statement(clause) == (english, spanish)


@pytest.mark.parametrize(("clause", "english", "spanish"), NEGATIONS, ids=names(NEGATIONS))
def test_negations(clause, english, spanish):
    assert _spanish_grammar.statement(clause, negative=True) == (english, spanish)


@pytest.mark.parametrize(("clause", "english", "spanish"), QUESTIONS, ids=names(QUESTIONS))
def test_questions(clause, english, spanish):
    assert _spanish_grammar.question(clause) == (english, spanish)


def test_words_have_all_their_forms():
    assert all(len(verb.spanish) == 5 for verb in _spanish_lexicon.VERBS)
    assert all(len(adjective.spanish) == 4 for adjective in ADJECTIVES)
    assert {verb.objects for verb in _spanish_lexicon.VERBS} == {
        *_spanish_lexicon.OBJECTS,
        "nothing",
    }
