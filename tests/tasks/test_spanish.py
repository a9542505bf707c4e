"""The grammar: against sentences translated by hand, and against rules of Spanish."""

import random
import re

import pytest

from attention_jax import spanish_words as words
from attention_jax.tasks import spanish as module
from attention_jax.tasks.spanish import sentence, spanish

# Translated by hand, and looked for among what the grammar writes.
BY_HAND = """
the girl sleeps. | la niña duerme.
I do not sing. | no canto.
we dance today. | bailamos hoy.
you work every day. | trabajas todos los días.
they do not sleep now. | ellos no duermen ahora.
he reads a letter. | él lee una carta.
she does not eat the egg. | ella no come el huevo.
I want these apples. | quiero estas manzanas.
we do not see the boys. | no vemos a los niños.
he helps the man. | él ayuda al hombre.
I look for the uncle. | busco al tío.
you visit my sisters. | visitas a mis hermanas.
do you sing? | ¿cantas?
does she dance? | ¿baila ella?
do they read the book? | ¿leen ellos el libro?
does the queen sleep? | ¿duerme la reina?
does he see the king? | ¿ve él al rey?
is she tall? | ¿es alta ella?
they are tired. | ellos están cansados.
she is not sick. | ella no está enferma.
my aunt is young. | mi tía es joven.
the table is white. | la mesa es blanca.
two women sing. | dos mujeres cantan.
many kings sleep. | muchos reyes duermen.
I sing in the park. | canto en el parque.
we work near the market. | trabajamos cerca del mercado.
he sleeps in my kitchen. | él duerme en mi cocina.
she writes two letters today. | ella escribe dos cartas hoy.
the girl and the boy sing. | la niña y el niño cantan.
I dance with the aunt. | bailo con la tía.
"""
LONGER_BY_HAND = """
is a strong woman tired? | ¿está cansada una mujer fuerte?
a tall man wants an expensive car. | un hombre alto quiere un coche caro.
"""


def pairs(table):
    return [tuple(line.split(" | ")) for line in table.strip().splitlines()]


@pytest.fixture(scope="module")
def drawn():
    rng = random.Random(0)
    return [sentence(rng) for _ in range(140_000)]


@pytest.fixture(scope="module")
def short():
    """What the grammar writes in few words."""
    rng, found = random.Random(1), {}
    for _ in range(600_000):
        english, spanish = sentence(rng)
        if len(english) < 32:
            found[english] = spanish
    return found


def test_there_are_more_than_100_000_sentences(drawn):
    assert len({english for english, _ in drawn}) > 100_000


def test_plain_clauses_alone_are_more_than_100_000():
    """Of determiner person verb determiner object, each also denied, and no other."""
    determiners = sum(map(len, words.DETERMINERS))
    subjects = len(words.PEOPLE) * determiners
    kinds = [words.OBJECTS[verb.objects] for verb in words.VERBS if verb.objects != "nothing"]
    assert subjects * sum(len(kind) * determiners for kind in kinds) * 2 > 100_000


def test_an_english_sentence_has_one_translation(drawn):
    answers = {}
    for english, spanish in drawn:
        assert answers.setdefault(english, spanish) == spanish
