"""Metrics of text against references: exact match, BLEU, chrF, chrF++ and TER."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from attention_jax.core.extras import needed
from attention_jax.core.plain_types import typed_calls

with needed("train"):
    from sacrebleu.metrics import BLEU, CHRF, TER

# Metrics of a corpus that are functions of sums over its sentences.
MEASURES = ("exact_match", "bleu")
# sacreBLEU's, of those that need no package beside it.
TOKENIZERS = ("13a", "intl", "zh", "char", "none")
# First and last code points of scripts that are written without spaces between words.
_HAN = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3134F))
_UNSPACED = ((0x3040, 0x30FF), (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF))


def bleu_tokenizer(references: Iterable[Sequence[str]]) -> str:
    """The tokenizer of BLEU that suits a language, told by the script of its text.

    "zh" for Chinese; "char" for kana, Thai, Lao, Burmese and Khmer, which have no spaces between
    words either; "13a", sacreBLEU's usual one, for all others.

    >>> bleu_tokenizer([("这个大的鱼卖14鱼。",), ("The fish.",)]), bleu_tokenizer([("El pez.",)])
    ('zh', '13a')
    """
    letters = [ord(c) for answers in references for text in answers for c in text if c.isalpha()]
    han, unspaced = (
        sum(any(a <= letter <= b for a, b in ranges) for letter in letters)
        for ranges in (_HAN, _UNSPACED)
    )
    # One of them says as much as a few letters of an alphabet.
    if 3 * (han + unspaced) <= len(letters):
        return "13a"
    # Japanese has both; of Chinese text a few kana may be quotations.
    return "zh" if han > 10 * unspaced else "char"


@typed_calls
def corpus_scores(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    lowercase: bool = False,
    tokenizer: str | None = None,
    more: bool = False,
) -> dict[str, float | str]:
    """Exact match, BLEU and chrF of a corpus.

    Args:
      hypotheses: detokenized sentences.
      references: one or more correct answers for each hypothesis; their numbers may differ.
      lowercase: ignores case, in all metrics.
      tokenizer: of BLEU, one of `TOKENIZERS`; None for what `bleu_tokenizer` finds.
      more: adds chrF++ and TER, which take longer.

    Returns:
      `exact_match`: share of hypotheses equal to any of their references, 0 to 1.
      `bleu`, `chrf`: of the corpus, 0 to 100; with `more` also `chrf++`, of which words count
        too, and `ter`, edits per 100 words of the reference, of which less is better.
      `bleu_signature` and so on: sacreBLEU's signatures, to be quoted with the scores.

    Raises:
      ValueError: there is nothing to score, numbers differ, or a sentence has no reference.

    Reference: Post 2018, arXiv:1804.08771 (BLEU); Popović 2015, aclanthology.org/W15-3049 (chrF).

    >>> scores = corpus_scores(["a b"], [("a c", "A B")], lowercase=True)
    >>> scores["exact_match"], scores["bleu_signature"].split("|")[1]
    (1.0, 'case:lc')
    """
    _check_sentences(hypotheses, references)
    _check_tokenizer(tokenizer)
    hits = _hits(hypotheses, references, lowercase)
    # sacreBLEU takes the first references of all sentences, then the second, and so on.
    most = max(map(len, references))
    columns: list[Any] = [[a[i] if i < len(a) else None for a in references] for i in range(most)]
    hypotheses = list(hypotheses)
    metrics: dict[str, Any] = {
        "bleu": BLEU(lowercase=lowercase, tokenize=tokenizer or bleu_tokenizer(references)),
        "chrf": CHRF(lowercase=lowercase),
    }
    if more:
        metrics |= {
            "chrf++": CHRF(lowercase=lowercase, word_order=2),
            "ter": TER(case_sensitive=not lowercase, asian_support=True),
        }
    scores = {name: x.corpus_score(hypotheses, columns).score for name, x in metrics.items()}
    # A signature is complete only after a score: it counts the references.
    signatures = {f"{name}_signature": str(x.get_signature()) for name, x in metrics.items()}
    return {"exact_match": sum(hits) / len(hits), **scores, **signatures}


@typed_calls
def sentence_counts(
    measure: str,
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    lowercase: bool = False,
    tokenizer: str | None = None,
) -> Float[np.ndarray, "n c"]:
    """Counts of each sentence, whose sums give the score of the corpus.

    Args:
      measure: one of `MEASURES`.
      hypotheses, references, lowercase, tokenizer: as in `corpus_scores`.

    Raises:
      ValueError: as `corpus_scores`, or `measure` is not among them.

    >>> counts = sentence_counts("exact_match", ["a", "b"], [("a",), ("c",)])
    >>> float(score_of_counts("exact_match", counts.sum(axis=0)))
    50.0
    """
    _check_sentences(hypotheses, references)
    _check_measure(measure)
    _check_tokenizer(tokenizer)
    if measure == "exact_match":
        hits = _hits(hypotheses, references, lowercase)
        return np.array([(hit, 1) for hit in hits], float)
    # The order does not affect counts; without it sacreBLEU warns about sentence scores.
    tokenize = tokenizer or bleu_tokenizer(references)
    bleu = BLEU(lowercase=lowercase, tokenize=tokenize, effective_order=True)
    rows = []
    for hypothesis, answers in zip(hypotheses, references, strict=True):
        found = bleu.sentence_score(hypothesis, list(answers))
        rows.append((found.sys_len, found.ref_len, *found.counts, *found.totals))
    return np.array(rows, float)


def score_of_counts(measure: str, sums: Float[np.ndarray, "*n c"]) -> Float[np.ndarray, "*n"]:
    """Score of a corpus, 0 to 100, from its sums of `sentence_counts`.

    Raises:
      ValueError: `measure` is not one of `MEASURES`.
    """
    _check_measure(measure)
    if measure == "exact_match":
        return np.asarray(100.0 * sums[..., 0] / sums[..., 1])
    scores = np.empty(sums.shape[:-1])
    for at in np.ndindex(scores.shape):
        hypothesis, reference, *ngrams = sums[at].astype(int).tolist()
        half = len(ngrams) // 2
        scores[at] = BLEU.compute_bleu(
            ngrams[:half], ngrams[half:], hypothesis, reference, smooth_method="exp"
        ).score
    return scores


def _hits(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], lowercase: bool
) -> list[bool]:
    same = str.lower if lowercase else str
    return [
        same(hypothesis) in map(same, answers)
        for hypothesis, answers in zip(hypotheses, references, strict=True)
    ]


def _check_measure(measure: str) -> None:
    if measure not in MEASURES:
        raise ValueError(f"`measure` must be one of {', '.join(MEASURES)}; got {measure!r}.")


def _check_tokenizer(tokenizer: str | None) -> None:
    if tokenizer is not None and tokenizer not in TOKENIZERS:
        raise ValueError(
            f"`tokenizer` must be one of {', '.join(TOKENIZERS)}, or None for what the references "
            f"suggest; got {tokenizer!r}."
        )


def _check_sentences(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if not hypotheses:
        raise ValueError("`hypotheses` must hold at least one sentence; got none.")
    if len(hypotheses) != len(references):
        raise ValueError(
            "`references` must hold one entry for each hypothesis; "
            f"got {len(references)} for {len(hypotheses)} hypotheses."
        )
    for i, sentence in enumerate(hypotheses):
        if not isinstance(sentence, str):
            raise ValueError(f"`hypotheses[{i}]` must be a sentence; got {sentence!r}.")
    for i, answers in enumerate(references):
        several = isinstance(answers, Sequence) and not isinstance(answers, str) and len(answers)
        if not several or not all(isinstance(answer, str) for answer in answers):
            raise ValueError(
                f"`references[{i}]` must be a tuple of one or more sentences; got {answers!r}."
            )
