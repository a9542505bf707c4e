"""English to Spanish by a small grammar: translation that needs no download.

One derivation writes both sentences, so every English sentence has one right answer. It asks for
agreement in gender and number, adjectives behind their nouns, dropped pronouns, the personal "a",
contractions, negation without "do", and questions with the verb in front.
"""

import random
from typing import NamedTuple

from attention_jax import spanish_words as words
from attention_jax.sampling_data import Draw, generated_task
from attention_jax.types import Task


class Phrase(NamedTuple):
    """A noun phrase, or a pronoun, in both languages."""

    english: str
    spanish: str  # empty where Spanish drops the pronoun
    feminine: bool
    person: int  # an index into the forms of a verb
    human: bool = True


class Clause(NamedTuple):
    """A subject, a verb and the rest, from which statements and questions are made."""

    subject: Phrase
    verb: words.Verb | None  # None: "is" or "are"
    spanish_verb: str
    english: str  # what follows the verb
    spanish: str


_PRONOUNS = (  # "I", "you" and "we" are dropped, for the verb tells them; "they" is masculine
    Phrase("I", "", False, words.FIRST),
    Phrase("you", "", False, words.SECOND),
    Phrase("we", "", False, words.WE),
    Phrase("he", "él", False, words.THIRD),
    Phrase("she", "ella", True, words.THIRD),
    Phrase("they", "ellos", False, words.THEY),
)


def spanish(
    *,
    max_words: int = 12,
    longer_words: int = 18,
    train_size: int = 20_000,
    validation_size: int = 1000,
    test_size: int = 1000,
    seed: int = 0,
) -> Task:
    """Sources are English sentences of the grammar, targets their one Spanish translation.

        "does the girl eat a red apple?" -> "¿come la niña una manzana roja?"

    The grammar has far more than 100,000 sentences. "you" is "tú"; "they" is "ellos"; "tired" and
    "sick" go with "estar", other adjectives with "ser".

    Args:
      max_words: most English words in training, validation and "test"; the fewest are 4.
      longer_words: most English words in the test "longer", whose fewest are `max_words + 1`.
        It has the same constructions, more of them in one sentence.
      train_size: training examples.
      validation_size: validation examples.
      test_size: examples in each of the two tests.
      seed: chooses the examples.

    Raises:
      ValueError: lengths out of order, or more examples asked for than there are.

    >>> task = spanish(train_size=1, validation_size=1, test_size=1)
    >>> task.tokenizer
    'word'
    """
    if not 4 <= max_words < longer_words <= 24 or max_words > 20:
        raise ValueError(
            "`max_words` must lie between 4 and 20 and below `longer_words`, which is at most 24; "
            f"got max_words={max_words}, longer_words={longer_words}."
        )
    return generated_task(
        "spanish",
        _sentence_of(range(4, max_words + 1)),
        _sentence_of(range(max_words + 1, longer_words + 1)),
        tokenizer="word",
        train_size=train_size,
        validation_size=validation_size,
        test_size=test_size,
        seed=seed,
    )


def sentence(rng: random.Random) -> tuple[str, str]:
    """One sentence of the grammar, of any length: English and Spanish.

    sentence -> clause "?" | statement "." | statement "and" statement "."
    """
    draw = rng.random()
    if draw < 0.25:
        return _question(_clause(rng))
    english, spanish = _statement(_clause(rng), negative=rng.random() < 0.3)
    if draw > 0.85:
        more_english, more_spanish = _statement(_clause(rng), negative=rng.random() < 0.3)
        english, spanish = f"{english} and {more_english}", f"{spanish} y {more_spanish}"
    return f"{english}.", f"{spanish}."


def _sentence_of(lengths: range) -> Draw:
    """Draws sentences with so many English words."""

    def draw(rng: random.Random) -> tuple[str, str]:
        while True:
            english, spanish = sentence(rng)
            if len(english.split()) in lengths:
                return english, spanish

    return draw


def _statement(clause: Clause, *, negative: bool) -> tuple[str, str]:
    """subject ["does not"] verb rest -> [subject] ["no"] verb rest."""
    subject, verb = clause.subject, clause.verb
    if verb is None:
        english_verb = f"{_be(subject)} not" if negative else _be(subject)
    elif negative:
        english_verb = f"{_do(subject)} not {verb.base}"
    else:
        english_verb = verb.third if subject.person == words.THIRD else verb.base
    spanish_verb = f"no {clause.spanish_verb}" if negative else clause.spanish_verb
    return (
        _join(subject.english, english_verb, clause.english),
        _join(subject.spanish, spanish_verb, clause.spanish),
    )


def _question(clause: Clause) -> tuple[str, str]:
    """ "does" subject verb rest -> verb subject rest; with "is", the adjective precedes it."""
    subject, verb = clause.subject, clause.verb
    if verb is None:
        english = _join(_be(subject), subject.english, clause.english)
        spanish = _join(clause.spanish_verb, clause.spanish, subject.spanish)
    else:
        english = _join(_do(subject), subject.english, verb.base, clause.english)
        spanish = _join(clause.spanish_verb, subject.spanish, clause.spanish)
    return f"{english}?", f"¿{spanish}?"


def _clause(rng: random.Random) -> Clause:
    """clause -> subject ("is" adjective | verb [object] [place or company] [time])."""
    if rng.random() < 0.15:
        return _copular_clause(rng)
    subject, verb = _subject(rng), rng.choice(words.VERBS)
    parts = []
    if verb.objects != "nothing":
        thing = _noun_phrase(rng, words.OBJECTS[verb.objects])
        parts.append((thing.english, _after("a", thing) if thing.human else thing.spanish))
    if rng.random() < (0.25 if parts else 0.7):
        parts.append(_circumstance(rng))
    if rng.random() < 0.25:
        parts.append(rng.choice(words.TIMES))
    english, spanish = _join(*(p[0] for p in parts)), _join(*(p[1] for p in parts))
    return Clause(subject, verb, verb.spanish[subject.person], english, spanish)


def _copular_clause(rng: random.Random) -> Clause:
    """subject "is" adjective; the adjective agrees with the subject."""
    if rng.random() < 0.3:
        subject = _noun_phrase(rng, words.THINGS)
    else:  # the gender of "I", "you" and "we" does not show in English
        subject = _subject(rng, pronouns=[p for p in _PRONOUNS if p.spanish])
    adjective = rng.choice(words.OF_PEOPLE if subject.human else words.OF_THINGS)
    plural = subject.person == words.THEY
    agreeing = adjective.spanish[_form(subject.feminine, plural)]
    return Clause(
        subject, None, words.COPULAS[adjective.copula][plural], adjective.english, agreeing
    )


def _subject(rng: random.Random, pronouns: list[Phrase] | tuple[Phrase, ...] = _PRONOUNS) -> Phrase:
    """subject -> pronoun | person | person "and" person."""
    draw = rng.random()
    if draw < 0.3:
        return rng.choice(pronouns)
    first = _noun_phrase(rng, words.PEOPLE)
    if draw < 0.88:
        return first
    second = _noun_phrase(rng, words.PEOPLE)
    return Phrase(
        f"{first.english} and {second.english}",
        f"{first.spanish} y {second.spanish}",
        first.feminine and second.feminine,  # one man makes the group masculine
        words.THEY,
    )


def _noun_phrase(
    rng: random.Random, nouns: tuple[words.Noun, ...], *, may_be_owned: bool = True
) -> Phrase:
    """phrase -> determiner [adjective] noun | owner "'s" [adjective] noun.

    Spanish puts adjective and owner last: "the boy's red car" -> "el coche rojo del niño".
    """
    noun = rng.choice(nouns)
    human, plural = noun in words.PEOPLE, rng.random() < 0.35
    english, spanish = noun.english[plural], noun.spanish[plural]
    if noun not in words.PLACES and rng.random() < 0.3:
        adjective = rng.choice(words.OF_PEOPLE if human else words.OF_THINGS)
        english = f"{adjective.english} {english}"
        spanish = f"{spanish} {adjective.spanish[_form(noun.feminine, plural)]}"
    if may_be_owned and rng.random() < 0.12:
        owner = _owner(rng)
        article = words.DETERMINERS[plural][0][1 + noun.feminine]
        english = f"{owner.english}'s {english}"
        spanish = f"{article} {spanish} {_after('de', owner)}"
    else:
        determiner = rng.choice(words.DETERMINERS[plural])
        english = f"{_a_or_an(determiner[0], english)} {english}"
        spanish = f"{determiner[1 + noun.feminine]} {spanish}"
    return Phrase(english, spanish, noun.feminine, words.THEY if plural else words.THIRD, human)


def _owner(rng: random.Random) -> Phrase:
    """One person, who owns something and is not owned in turn."""
    while True:
        owner = _noun_phrase(rng, words.PEOPLE, may_be_owned=False)
        if owner.person == words.THIRD:
            return owner


def _circumstance(rng: random.Random) -> tuple[str, str]:
    """circumstance -> "with" person | preposition place."""
    if rng.random() < 0.3:
        company = _noun_phrase(rng, words.PEOPLE)
        return f"with {company.english}", f"con {company.spanish}"
    place = rng.choice(words.PLACES)
    determiner, *spanish = rng.choice([d for d in words.DETERMINERS[0] if d[0] != "a"])
    preposition, spanish_preposition = rng.choice(words.PREPOSITIONS)
    place_phrase = Phrase(
        "", f"{spanish[place.feminine]} {place.spanish[0]}", place.feminine, words.THIRD
    )
    return (
        f"{preposition} {determiner} {place.english[0]}",
        _after(spanish_preposition, place_phrase),
    )


def _after(preposition: str, phrase: Phrase) -> str:
    """`preposition` before a phrase: a + el -> al, de + el -> del."""
    contracts = preposition.endswith(("a", "de")) and phrase.spanish.startswith("el ")
    return f"{preposition}l{phrase.spanish[2:]}" if contracts else f"{preposition} {phrase.spanish}"


def _form(feminine: bool, plural: bool) -> int:
    return feminine + 2 * plural


def _be(subject: Phrase) -> str:
    return "is" if subject.person == words.THIRD else "are"


def _do(subject: Phrase) -> str:
    return "does" if subject.person == words.THIRD else "do"


def _a_or_an(determiner: str, following: str) -> str:
    return "an" if determiner == "a" and following[0] in "aeiou" else determiner


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)
