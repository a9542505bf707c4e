"""English to Spanish by a small grammar: a translation task that needs no download.

One derivation produces both sentences, so every English sentence has one correct translation. It
needs agreement in gender and number, adjectives after nouns, dropped pronouns, the personal "a",
contractions, negation without "do", and questions with the verb first.
"""

import random
from collections.abc import Sequence

from attention_jax.core.plain_types import typed_calls
from attention_jax.data.tasks import _spanish_grammar, _spanish_lexicon
from attention_jax.data.tasks._spanish_grammar import Clause, Phrase
from attention_jax.data.tasks._synthetic import Draw, Sizes, generated_task
from attention_jax.data.types import Task


@typed_calls
def spanish(
    *,
    max_words: int = 12,
    longer_words: int = 18,
    train_size: int = 20_000,
    validation_size: int = 1000,
    test_size: int = 1000,
    seed: int = 0,
) -> Task:
    """English sentences of the grammar, and their Spanish translations.

        "does the girl eat a red apple?" -> "¿come la niña una manzana roja?"

    The grammar has far more than 100,000 sentences. "you" is "tú"; "they" is "ellos"; "tired" and
    "sick" go with "estar", other adjectives with "ser".

    Args:
      max_words: most English words in training, validation and "test"; the fewest are 4.
      longer_words: most English words in the test "longer", whose fewest are `max_words + 1`.
        It has the same constructions, more of them in a sentence.
      train_size: training examples.
      validation_size: validation examples.
      test_size: examples in each of the two tests.
      seed: seed of the examples.

    Raises:
      ValueError: lengths out of order, or more examples requested than there are.

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
        sizes=Sizes(train_size, validation_size, test_size),
        seed=seed,
    )


def sentence(rng: random.Random) -> tuple[str, str]:
    """One sentence of the grammar, of any length: English and Spanish.

    sentence -> clause "?" | statement "." | statement "and" statement "."
    """
    draw = rng.random()
    if draw < 0.25:
        return _spanish_grammar.question(_clause(rng))
    english, spanish = _spanish_grammar.statement(_clause(rng), negative=rng.random() < 0.3)
    if draw > 0.85:
        more_english, more = _spanish_grammar.statement(_clause(rng), negative=rng.random() < 0.3)
        english, spanish = f"{english} and {more_english}", f"{spanish} y {more}"
    return f"{english}.", f"{spanish}."


def _sentence_of(lengths: range) -> Draw:
    """Draws sentences with a given number of English words."""

    def draw(rng: random.Random) -> tuple[str, str]:
        while True:
            english, spanish = sentence(rng)
            if len(english.split()) in lengths:
                return english, spanish

    return draw


def _clause(rng: random.Random) -> Clause:
    """clause -> subject ("is" adjective | verb [object] [place or company] [time])."""
    if rng.random() < 0.15:
        return _copular_clause(rng)
    subject, verb = _subject(rng, _spanish_grammar.PRONOUNS), rng.choice(_spanish_lexicon.VERBS)
    thing = (
        _noun_phrase(rng, _spanish_lexicon.OBJECTS[verb.objects])
        if verb.objects != "nothing"
        else None
    )
    circumstances = []
    if rng.random() < (0.7 if thing is None else 0.25):
        circumstances.append(_company(rng) if rng.random() < 0.3 else _place(rng))
    if rng.random() < 0.25:
        circumstances.append(rng.choice(_spanish_lexicon.TIMES))
    return _spanish_grammar.clause(subject, verb, thing, circumstances)


def _copular_clause(rng: random.Random) -> Clause:
    """subject "is" adjective, for subjects of known gender."""
    if rng.random() < 0.3:
        subject = _noun_phrase(rng, _spanish_lexicon.THINGS)
    else:
        subject = _subject(rng, [p for p in _spanish_grammar.PRONOUNS if p.spanish])
    adjectives = _spanish_lexicon.OF_PEOPLE if subject.human else _spanish_lexicon.OF_THINGS
    return _spanish_grammar.copular_clause(subject, rng.choice(adjectives))


def _subject(rng: random.Random, pronouns: Sequence[Phrase]) -> Phrase:
    """subject -> pronoun | person | person "and" person."""
    draw = rng.random()
    if draw < 0.3:
        return rng.choice(pronouns)
    first = _noun_phrase(rng, _spanish_lexicon.PEOPLE)
    return (
        first
        if draw < 0.88
        else _spanish_grammar.both(first, _noun_phrase(rng, _spanish_lexicon.PEOPLE))
    )


def _noun_phrase(rng: random.Random, nouns: Sequence[_spanish_lexicon.Noun]) -> Phrase:
    """phrase -> (determiner | owner "'s") [adjective] noun."""
    noun, plural = rng.choice(nouns), rng.random() < 0.35
    if rng.random() < 0.12:
        owner = rng.choice(_spanish_lexicon.PEOPLE)
        determiner = _spanish_grammar.noun_phrase(
            owner, rng.choice(_spanish_lexicon.DETERMINERS[False]), adjective=_adjective(rng, owner)
        )
    else:
        determiner = rng.choice(_spanish_lexicon.DETERMINERS[plural])
    return _spanish_grammar.noun_phrase(
        noun, determiner, plural=plural, adjective=_adjective(rng, noun)
    )


def _adjective(
    rng: random.Random, noun: _spanish_lexicon.Noun
) -> _spanish_lexicon.Adjective | None:
    if rng.random() > 0.3:
        return None
    return rng.choice(
        _spanish_lexicon.OF_PEOPLE
        if noun in _spanish_lexicon.PEOPLE
        else _spanish_lexicon.OF_THINGS
    )


def _company(rng: random.Random) -> tuple[str, str]:
    company = _noun_phrase(rng, _spanish_lexicon.PEOPLE)
    return f"with {company.english}", f"con {company.spanish}"


def _place(rng: random.Random) -> tuple[str, str]:
    determiners = [x for x in _spanish_lexicon.DETERMINERS[False] if x.english != "a"]
    place = _spanish_grammar.noun_phrase(
        rng.choice(_spanish_lexicon.PLACES), rng.choice(determiners)
    )
    english, spanish = rng.choice(_spanish_lexicon.PREPOSITIONS)
    return f"{english} {place.english}", _spanish_grammar.after(spanish, place)
