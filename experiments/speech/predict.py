"""Transcripts of recordings by a trained run."""

from collections.abc import Iterator

from experiments.common import input_files
from experiments.common.experiment import PredictFlags, Run
from experiments.common.load_run import refuse
from experiments.speech.config import rate, transcriber

ROWS = 8  # recordings transcribed at once


def predict(run: Run, given: PredictFlags) -> Iterator[str]:
    """The transcript of each recording that --file names, a line each."""
    if given.text is not None:
        refuse(run.experiment, ["text"], ["text"])
    config = run.config
    search = config.decoding.search(config.run.seed)
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
        answers = [(one.score, one.text) for one in found]
        yield from input_files.lines(recording.name, answers, given)
