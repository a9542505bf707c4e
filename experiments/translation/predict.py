"""Translations by a trained run."""

import sys
from collections.abc import Callable, Iterable, Iterator

from attention_jax.decoding.translate import Hypothesis, Translator
from experiments.common.experiment import PredictFlags, Run
from experiments.common.input_files import read_lines

Translate = Callable[[list[str]], list[list[Hypothesis]]]
# The same for one sentence and for many, so that both get the same translation.
ROWS = 8


def predict(run: Run, given: PredictFlags) -> Iterator[str]:
    """Translations of the sentences that flags or standard input give, one a line."""
    search = run.config.decoding.search(run.config.run.seed)
    translator = Translator(run.graphdef, run.tokenizer, search, rows=ROWS)

    def translate(texts: list[str]) -> list[list[Hypothesis]]:
        return translator(run.params, texts)

    if given.text is not None:
        return lines(translate, [given.text], scores=given.scores)
    if given.file is not None:
        return lines(translate, read_lines(given.file), scores=given.scores)
    if sys.stdin.isatty():
        return converse(translate, scores=given.scores)
    return lines(translate, [line.rstrip("\n") for line in sys.stdin], scores=given.scores)


def lines(translate: Translate, texts: Iterable[str], *, scores: bool) -> Iterator[str]:
    """The translations, one a line; of an empty line an empty one."""
    texts = list(texts)
    found = iter(translate([text for text in texts if text.strip()]))
    for text in texts:
        if not text.strip():
            yield ""
            continue
        for hypothesis in next(found):
            yield f"{hypothesis.score:.4f}\t{hypothesis.text}" if scores else hypothesis.text


def converse(translate: Translate, *, scores: bool) -> Iterator[str]:
    """The translation of each sentence that is typed, until the end of input."""
    print("Type a sentence; an empty line or Ctrl-D ends.", file=sys.stderr)
    while True:
        try:
            text = input("> ")
        except (EOFError, KeyboardInterrupt):
            return print(file=sys.stderr)
        if not text.strip():
            return None
        yield from lines(translate, [text], scores=scores)
