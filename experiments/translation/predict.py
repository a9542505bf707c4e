"""Translations by a trained run."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from attention_jax.analysis import coverage
from attention_jax.decoding.batched import DecodingConfig
from attention_jax.decoding.translate import Hypothesis, Translator
from experiments.common.asked_search import Label, asked, token_scores
from experiments.common.experiment import PredictFlags, Run
from experiments.common.input_files import read_lines
from experiments.common.load_run import OF_SPEECH, refuse_texts
from experiments.common.streams import in_chunks, input_lines

Translate = Callable[[list[str]], list[list[Hypothesis]]]
Show = Callable[[Sequence[Hypothesis]], Iterator[str]]  # the lines of one sentence
CHUNK = 512  # sentences that are translated together at most
# The same for one sentence and for many, so that both get the same translation.
ROWS = 8


def predict(run: Run, given: PredictFlags) -> Iterator[str]:
    """Translations of the sentences that flags or standard input give, one a line."""
    refuse_texts(run, given, *OF_SPEECH, remedy="They are of --pretrained speech.")
    search = asked(run, given)
    translate = translator(run, given, search)
    label = run.tokenizer.tokens if given.token_scores else None
    ranked = search.method == "beam"
    show = partial(shown, nbest=search.nbest, scores=given.scores, ranked=ranked, label=label)
    unknown = run.tokenizer.unknown
    if given.text is not None:
        return lines(translate, [given.text], show, unknown)
    if given.file is not None:
        return lines(translate, read_lines(given.file), show, unknown)
    if sys.stdin.isatty():
        return converse(translate, show, unknown)
    return lines(translate, input_lines(), show, unknown)


def translator(run: Run, given: PredictFlags, search: DecodingConfig) -> Translate:
    """Translations of some texts, ranked by their coverage too where that is asked for."""
    if not given.coverage_penalty:
        return partial(Translator(run.graphdef, run.tokenizer, search, rows=ROWS), run.params)
    every = search._replace(nbest=search.beam_size)
    find = Translator(run.graphdef, run.tokenizer, every, rows=ROWS)

    def ranked(text: str, found: list[Hypothesis]) -> list[Hypothesis]:
        source = run.tokenizer.encode(text)
        strength = given.coverage_penalty
        best = coverage.rerank(run.graphdef, run.params, source, found, strength=strength)
        return best[: search.nbest]

    return lambda texts: list(map(ranked, texts, find(run.params, texts)))


def lines(
    translate: Translate, texts: Iterable[str], show: Show, unknown: Callable[[str], list[str]]
) -> Iterator[str]:
    """The translations in the order of the texts, as soon as they are there.

    Named on standard error is what of a text was never seen in training, and what was cut.
    """
    number = 0
    for chunk in in_chunks(texts, most=CHUNK):
        found = iter(translate([text for text in chunk if text.strip()]))
        for text in chunk:
            number += 1
            own = next(found) if text.strip() else []
            if never := unknown(text):
                said = ", ".join(map(repr, dict.fromkeys(never)))
                print(f"line {number}: never seen in training: {said}", file=sys.stderr)
            for rank, hypothesis in enumerate(own, 1):
                if hypothesis.is_cut:
                    said = f"line {number}, translation {rank}: cut at {len(hypothesis.tokens)}"
                    print(f"{said} tokens, before its end", file=sys.stderr)
            yield from show(own)


def shown(
    found: Sequence[Hypothesis],
    *,
    nbest: int,
    scores: bool,
    ranked: bool,
    label: Label | None = None,
) -> Iterator[str]:
    """The lines of a sentence: as many as are asked for, whatever was found.

    Args:
      found: none of an empty sentence.
      nbest: above 1 each line begins with its rank.
      scores: shows the log-probability.
      ranked: shows before it the score of beam search.
      label: names tokens, which are then shown last, each with its log-probability.
    """
    for rank in range(nbest):
        one = found[rank] if rank < len(found) else Hypothesis("", (), 0.0, 0.0)
        numbers = [one.score, one.log_probability] if ranked else [one.log_probability]
        columns = [str(rank + 1)] if nbest > 1 else []
        columns += [f"{number:.4f}" if found else "" for number in numbers] if scores else []
        last = [] if label is None else [token_scores(one, label)]
        yield "\t".join([*columns, one.text, *last])


def converse(
    translate: Translate, show: Show, unknown: Callable[[str], list[str]]
) -> Iterator[str]:
    """The translation of each sentence that is typed, until the end of input."""
    print("Type a sentence; an empty line or Ctrl-D ends.", file=sys.stderr)
    while True:
        try:
            text = input("> ")
        except (EOFError, KeyboardInterrupt):
            return print(file=sys.stderr)
        if not text.strip():
            return None
        yield from lines(translate, [text], show, unknown)
