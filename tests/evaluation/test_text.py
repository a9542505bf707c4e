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


def test_further_scores_are_those_of_sacrebleu():
    streams = [["the cat sat on the mat", "x"], ["a cat sat upon the mat today", "Two dogs run"]]
    pairs = list(zip(*streams, strict=True))
    scores = text.corpus_scores(HYPOTHESES[:2], pairs, more=True)
    assert scores["chrf++"] == sacrebleu.corpus_chrf(HYPOTHESES[:2], streams, word_order=2).score
    ter = sacrebleu.corpus_ter(HYPOTHESES[:2], streams, case_sensitive=True, asian_support=True)
    assert scores["ter"] == ter.score > 0
    assert "nw:2" in scores["chrf++_signature"] and scores["ter_signature"]


CHINESE = ["这个红色的鸟喜欢65狗。", "这个大的鱼卖14鱼。"]


def test_chinese_is_cut_between_its_characters():
    answers = ["这个红色的鸟喜欢64狗。", "那个大的鱼卖14鱼。"]
    scores = text.corpus_scores(answers, [(x,) for x in CHINESE])
    assert scores["bleu"] == sacrebleu.corpus_bleu(answers, [CHINESE], tokenize="zh").score > 60
    assert "tok:zh" in scores["bleu_signature"]
    counts = text.sentence_counts("bleu", answers, [(x,) for x in CHINESE]).sum(axis=0)
    assert text.score_of_counts("bleu", counts) == pytest.approx(scores["bleu"])
    by_words = text.corpus_scores(answers, [(x,) for x in CHINESE], tokenizer="13a")
    assert by_words["bleu"] == sacrebleu.corpus_bleu(answers, [CHINESE]).score < 20


@pytest.mark.parametrize(
    ("sentence", "tokenizer"),
    [
        ("El pez grande vende 14 peces.", "13a"),
        ("Большая рыба", "13a"),
        ("큰 물고기", "13a"),
        ("123 !?", "13a"),
        ("他说 okay", "13a"),
        ("大きな魚は14匹の魚を売る。", "char"),
        ("ปลาตัวใหญ่", "char"),
        ("這個大的魚", "zh"),
    ],
)
def test_the_tokenizer_of_bleu_follows_the_script(sentence, tokenizer):
    assert text.bleu_tokenizer([(sentence,)]) == tokenizer


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
