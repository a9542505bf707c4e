"""Scores of translations are those of the best hypotheses."""

from attention_jax.data.types import Example
from attention_jax.decoding import Hypothesis, Translator
from attention_jax.evaluation import text
from attention_jax.evaluation.translation import score


class Parrot(Translator):
    """Says the source first, and something worse second."""

    def __init__(self):
        self.asked = []

    def __call__(self, params, sources):
        self.asked += sources
        return [[Hypothesis(x, (), 0.0), Hypothesis("worse", (), -1.0)] for x in sources]


def test_the_best_hypotheses_are_scored_against_all_references():
    examples = [Example("a b c d", ("x", "a b c d")), Example("e f g h", ("E F G H",))]
    parrot = Parrot()
    scores, best = score(parrot, {}, examples)
    assert best == parrot.asked == ["a b c d", "e f g h"]
    assert scores == text.corpus_scores(best, [e.references for e in examples])
    assert scores["exact_match"] == 0.5
    assert score(parrot, {}, examples, lowercase=True)[0]["exact_match"] == 1.0
