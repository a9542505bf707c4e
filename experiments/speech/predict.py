"""Transcripts of recordings by a trained run."""

from collections.abc import Iterator

from attention_jax.decoding.transcribe import Transcriber
from attention_jax.decoding.whisper import WhisperTranscriber
from experiments.common import input_files
from experiments.common.asked_search import asked, token_scores
from experiments.common.experiment import PredictFlags, Run
from experiments.common.load_run import OF_SPEECH, refuse_texts
from experiments.speech import adopt
from experiments.speech.config import rate, transcriber

ROWS = 8  # recordings transcribed at once


def listener(run: Run, given: PredictFlags) -> Transcriber | WhisperTranscriber:
    """A transcriber by the model of a run.

    Raises:
      ValueError: flags are given that it has not.
    """
    search, config = asked(run, given), run.config
    if run.pretrained is not None:
        return adopt.transcriber(
            run, search, language=given.language, translate=given.translate, rows=ROWS
        )
    refuse_texts(run, given, *OF_SPEECH, remedy="They are of --pretrained speech.")
    vocabulary, own = run.tokenizer, rate(config.data)
    return transcriber(config, vocabulary, run.graphdef, own, search, rows=ROWS)


def predict(run: Run, given: PredictFlags) -> Iterator[str]:
    """The transcript of each recording that --file names, a line each."""
    refuse_texts(run, given, "text", "coverage_penalty")
    transcribe, config = listener(run, given), run.config
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
