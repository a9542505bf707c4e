"""Synchronous grammar of the task "spanish": English and Spanish built from the same parts.

Nothing is random here: the caller chooses the words.
"""

from collections.abc import Sequence
from typing import NamedTuple

from attention_jax.data.tasks import _spanish_lexicon


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
    verb: _spanish_lexicon.Verb | None  # None: "is" or "are"
    spanish_verb: str
    english: str  # what follows the verb
    spanish: str


PRONOUNS = (  # "I", "you" and "we" are dropped, the verb implies them; "they" is masculine
    Phrase("I", "", False, _spanish_lexicon.FIRST),
    Phrase("you", "", False, _spanish_lexicon.SECOND),
    Phrase("we", "", False, _spanish_lexicon.WE),
    Phrase("he", "él", False, _spanish_lexicon.THIRD),
    Phrase("she", "ella", True, _spanish_lexicon.THIRD),
    Phrase("they", "ellos", False, _spanish_lexicon.THEY),
)


def noun_phrase(
    noun: _spanish_lexicon.Noun,
    determiner: _spanish_lexicon.Determiner | Phrase,
    *,
    plural: bool = False,
    adjective: _spanish_lexicon.Adjective | None = None,
) -> Phrase:
    """determiner [adjective] noun; the determiner may be a possessor.

    Spanish puts adjective and possessor last: "the boy's red car" -> "el coche rojo del niño".
    """
    english, spanish = noun.english[plural], noun.spanish[plural]
    if adjective is not None:
        english = f"{adjective.english} {english}"
        spanish = f"{spanish} {_agreeing(adjective, noun.feminine, plural)}"
    if isinstance(determiner, Phrase):
        article = _spanish_lexicon.THE[plural].spanish[noun.feminine]
        english = f"{determiner.english}'s {english}"
        spanish = f"{article} {spanish} {after('de', determiner)}"
    else:
        vowel = determiner.english == "a" and english[0] in "aeiou"
        english = f"{'an' if vowel else determiner.english} {english}"
        spanish = f"{determiner.spanish[noun.feminine]} {spanish}"
    person = _spanish_lexicon.THEY if plural else _spanish_lexicon.THIRD
    return Phrase(english, spanish, noun.feminine, person, noun in _spanish_lexicon.PEOPLE)


def both(first: Phrase, second: Phrase) -> Phrase:
    """first "and" second; one man makes the group masculine."""
    return Phrase(
        f"{first.english} and {second.english}",
        f"{first.spanish} y {second.spanish}",
        first.feminine and second.feminine,
        _spanish_lexicon.THEY,
    )


def clause(
    subject: Phrase,
    verb: _spanish_lexicon.Verb,
    thing: Phrase | None = None,
    circumstances: Sequence[tuple[str, str]] = (),
) -> Clause:
    """subject verb [object] [circumstances]; an object that is a person takes "a"."""
    parts = list(circumstances)
    if thing is not None:
        parts.insert(0, (thing.english, after("a", thing) if thing.human else thing.spanish))
    english, spanish = _join(*(part[0] for part in parts)), _join(*(part[1] for part in parts))
    return Clause(subject, verb, verb.spanish[subject.person], english, spanish)


def copular_clause(subject: Phrase, adjective: _spanish_lexicon.Adjective) -> Clause:
    """subject "is" adjective; the adjective agrees with the subject.

    Not for "I", "you" and "we", whose gender is unknown in English.
    """
    plural = subject.person == _spanish_lexicon.THEY
    agreeing = _agreeing(adjective, subject.feminine, plural)
    copula = _spanish_lexicon.COPULAS[adjective.copula][plural]
    return Clause(subject, None, copula, adjective.english, agreeing)


def statement(clause: Clause, *, negative: bool = False) -> tuple[str, str]:
    """subject ["does not"] verb rest -> [subject] ["no"] verb rest; without a full stop."""
    subject, verb = clause.subject, clause.verb
    if verb is None:
        english_verb = f"{_be(subject)} not" if negative else _be(subject)
    elif negative:
        english_verb = f"{_do(subject)} not {verb.base}"
    else:
        english_verb = verb.third if subject.person == _spanish_lexicon.THIRD else verb.base
    spanish_verb = f"no {clause.spanish_verb}" if negative else clause.spanish_verb
    return (
        _join(subject.english, english_verb, clause.english),
        _join(subject.spanish, spanish_verb, clause.spanish),
    )


def question(clause: Clause) -> tuple[str, str]:
    """does subject verb rest -> verb subject rest; with "is", the adjective precedes it."""
    subject, verb = clause.subject, clause.verb
    if verb is None:
        english = _join(_be(subject), subject.english, clause.english)
        spanish = _join(clause.spanish_verb, clause.spanish, subject.spanish)
    else:
        english = _join(_do(subject), subject.english, verb.base, clause.english)
        spanish = _join(clause.spanish_verb, subject.spanish, clause.spanish)
    return f"{english}?", f"¿{spanish}?"


def after(preposition: str, phrase: Phrase) -> str:
    """The Spanish `preposition` before a phrase: a + el -> al, de + el -> del."""
    contracts = preposition.endswith(("a", "de")) and phrase.spanish.startswith("el ")
    return f"{preposition}l{phrase.spanish[2:]}" if contracts else f"{preposition} {phrase.spanish}"


def _agreeing(adjective: _spanish_lexicon.Adjective, feminine: bool, plural: bool) -> str:
    return adjective.spanish[feminine + 2 * plural]


def _be(subject: Phrase) -> str:
    return "is" if subject.person == _spanish_lexicon.THIRD else "are"


def _do(subject: Phrase) -> str:
    return "does" if subject.person == _spanish_lexicon.THIRD else "do"


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)
