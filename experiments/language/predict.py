"""Texts that a trained run goes on with."""

import sys
from collections.abc import Iterator

from experiments.common.experiment import PredictFlags, Run
from experiments.common.load_run import OF_SPEECH, refuse_texts
from experiments.language.config import writer


def predict(run: Run, given: PredictFlags) -> Iterator[str]:
    """The text that flags give or standard input holds, and what the model adds.

    Raises:
      ValueError: there is no text, or flags are of translations.
    """
    names = ("prefix", "words", "token_scores", "coverage_penalty", *OF_SPEECH)
    refuse_texts(run, given, *names, remedy="The text is given by --text.")
    write = writer(run.config, run.tokenizer, run.graphdef)
    if given.scores or given.file is not None:
        raise ValueError("--scores and --file go with translations; give a text by --text.")
    if given.text is None and sys.stdin.isatty():
        raise ValueError("`--text` must be the text to go on with; got none.")
    text = given.text if given.text is not None else sys.stdin.read()
    yield write(run.params, text, run.config.data.characters)
