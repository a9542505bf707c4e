"""Transcripts of recordings by a trained run."""

from collections.abc import Iterator

from experiments.common import input_files
from experiments.common.asked_search import asked, token_scores
from experiments.common.experiment import PredictFlags, Run
from experiments.common.load_run import refuse_texts
from experiments.speech.config import rate, transcriber

ROWS = 8  # recordings transcribed at once


def predict(run: Run, given: PredictFlags) -> Iterator[str]:
    """The transcript of each recording that --file names, a line each."""
    refuse_texts(run, given, "text", "coverage_penalty")
    config = run.config
    search = asked(run, given)
    transcribe = transcriber(
        config, run.tokenizer, run.graphdef, rate(config.data), search, rows=ROWS
    )
    recordings = input_files.recordings(
        given.file,
        transcribe.settings,
        resample=config.data.resample,
        skip_bad=config.data.skip_bad,
    )
    for recording, found in zip(recordings, transcribe(run.params, recordings), strict=True):
        label = run.tokenizer.tokens
        said = [f"\t{token_scores(one, label)}" if given.token_scores else "" for one in found]
        answers = [(one.score, f"{one.text}{last}") for one, last in zip(found, said, strict=True)]
        yield from input_files.lines(recording.name, answers, given)
