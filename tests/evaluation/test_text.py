"""Scores of text against sacreBLEU's own."""

import pytest
import sacrebleu

from attention_jax.evaluation import text

HYPOTHESES = ["the cat sat on the mat today", "Two dogs ran in the green park", "ein Haus"]
REFERENCES = [
    ("the cat sat on the mat", "a cat sat upon the mat today"),
    ("two dogs ran in the green park",),
    ("das Haus", "Haus", "ein Haus"),
]


def test_scores_are_those_of_sacrebleu_with_equal_numbers_of_references():
    scores = text.corpus_scores(HYPOTHESES[:2], [REFERENCES[0], ("x", "Two dogs run")])
    streams = [["the cat sat on the mat", "x"], ["a cat sat upon the mat today", "Two dogs run"]]
    assert scores["bleu"] == sacrebleu.corpus_bleu(HYPOTHESES[:2], streams).score
    assert scores["chrf"] == sacrebleu.corpus_chrf(HYPOTHESES[:2], streams).score
    assert scores["bleu_signature"].startswith("nrefs:2|case:mixed|")


def test_numbers_of_references_may_differ():
    scores = text.corpus_scores(HYPOTHESES, REFERENCES)
    # A repeated reference adds no n-gram and no new length.
    padded = [(*answers, *answers * 2)[:3] for answers in REFERENCES]
    assert scores["bleu"] == text.corpus_scores(HYPOTHESES, padded)["bleu"]
    assert 0 < scores["bleu"] < 100 and 0 < scores["chrf"] < 100
    assert scores["bleu_signature"].startswith("nrefs:var|case:mixed|")
    assert scores["chrf_signature"].startswith("nrefs:var|case:mixed|")


def test_case_counts_unless_told_otherwise():
    cased, lower = (text.corpus_scores(HYPOTHESES, REFERENCES, lowercase=x) for x in (False, True))
    assert cased["exact_match"] == 1 / 3  # any reference will do
    assert lower["exact_match"] == 2 / 3
    assert lower["bleu"] > cased["bleu"] and lower["chrf"] > cased["chrf"]
    assert "case:lc" in lower["bleu_signature"] and "case:lc" in lower["chrf_signature"]


def test_perfect_sentences_score_all():
    scores = text.corpus_scores(["a b c d e"], [("a b c d e",)])
    assert scores["exact_match"] == 1.0
    assert scores["bleu"] == pytest.approx(100) and scores["chrf"] == pytest.approx(100)


def test_an_empty_hypothesis_is_scored():
    scores = text.corpus_scores(["", "a b c d"], [("a b c d",), ("a b c d",)])
    assert scores["exact_match"] == 0.5
    assert 0 < scores["bleu"] < 100


@pytest.mark.parametrize(
    "hypotheses, references, message",
    [
        ([], [], "`hypotheses` must hold at least one sentence; got none"),
        (["a"], [("a",), ("b",)], "one entry for each hypothesis; got 2 for 1 hypotheses"),
        (["a", "b"], [("a",), ()], r"`references\[1\]` must be a tuple .* got \(\)"),
        (["a"], ["a"], r"`references\[0\]` must be a tuple .* got 'a'"),
    ],
)
def test_corpus_scores_refuse(hypotheses, references, message):
    with pytest.raises(ValueError, match=message):
        text.corpus_scores(hypotheses, references)
