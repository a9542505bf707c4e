"""The page about runs of experiments.speech: moments of sound, and their transcripts."""

from attention_jax.analysis import attention_maps
from attention_jax.analysis.pages import explorer
from attention_jax.analysis.plots import speech_alignment
from attention_jax.data.audio import batches, spectrogram
from attention_jax.data.audio.corpus import Skipped, Utterance
from attention_jax.data.audio.whisper_frames import HOP, RATE
from attention_jax.decoding.transcribe import Transcriber
from attention_jax.decoding.translate import Hypothesis
from attention_jax.decoding.whisper import WhisperTranscriber
from experiments.common import input_files
from experiments.common.experiment import Items, Page, PageFlags, Run
from experiments.common.load_run import refuse
from experiments.common.pages import beam, check_vocabularies, described
from experiments.speech import adopt
from experiments.speech.config import attention_name, front_end, rate, transcriber
from experiments.speech.data import load_corpus, passing

ROWS = 8  # recordings transcribed at once
SHORTENING = 2  # frames of Whisper's spectrogram that make a position


def about(run: Run) -> str:
    """The model of a run, in a few words.

    Raises:
      ValueError: it has no attention.
    """
    if run.pretrained is not None:
        return adopt.about(run)
    ctc = run.config.listen.loss == "ctc"
    attention = attention_name(run.config)
    if attention == "none":
        raise ValueError(
            f"`--run` must be of a model with attention; {run.folder} is of an RNN "
            f"{'that CTC trained, without decoder' if ctc else 'without'}. Use another run."
        )
    line = described(run.config.model.model, attention)
    return f"{line}{', CTC: no decoder' if ctc else ''}"


def check_alike(first: Run, other: Run) -> None:
    """Refuses runs that do not hear at one rate and write the same tokens.

    Raises:
      ValueError: they do not.
    """
    rates = [rate(run.config.data) for run in (first, other)]
    if rates[0] != rates[1]:
        raise ValueError(
            f"`--other_run` must hear at the rate of `--run`; got {rates[1]} beside {rates[0]} "
            "samples a second. Write a page of each."
        )
    check_vocabularies(first.folder, other.folder)


def items(run: Run, given: PageFlags) -> Items:
    """The recordings that --file names, or the first of the test, with titles."""
    if given.text:
        refuse(run.experiment, ["text"], ["text"])
    data, transcribe = run.config.data, transcriber_of(run, given)
    if given.file is not None:
        own = input_files.recordings(
            given.file, transcribe.settings, resample=data.resample, skip_bad=data.skip_bad
        )
        return [(utterance.name, utterance) for utterance in own]
    if run.pretrained is not None:
        raise ValueError(
            f"`--file` must name a recording, or a folder of such, for {run.folder} comes without "
            "any; got none."
        )
    tests = load_corpus(data, run.config.run.seed).tests
    assert isinstance(transcribe, Transcriber)
    first = passing(next(iter(tests.values())), transcribe.padded_length, Skipped(data.skip_bad))
    return [(f"{one.name}: {one.transcript}", one) for one in first[: given.examples]]


def transcriber_of(run: Run, given: PageFlags) -> Transcriber | WhisperTranscriber:
    """A transcriber by the model of a run."""
    config = run.config
    search = beam(config, given)
    if run.pretrained is not None:
        return adopt.transcriber(run, search, rows=ROWS)
    return transcriber(config, run.tokenizer, run.graphdef, rate(config.data), search, rows=ROWS)


def read(run: Run, items: Items, given: PageFlags) -> list[explorer.Reading]:
    """Transcripts of each recording, and the weights of the best."""
    transcribe = transcriber_of(run, given)
    heard = transcribe(run.params, [utterance for _, utterance in items])
    if isinstance(transcribe, WhisperTranscriber):
        return [
            whisper_reading(run, transcribe, item, found)
            for item, found in zip(items, heard, strict=True)
        ]
    # One length of all targets, so that few programs are compiled.
    longest = max(len(found[0].tokens) for found in heard)
    collate = batches.Collate(transcribe.settings, spectrogram.padded_length(longest + 1, 8))
    return [
        reading(run, transcribe, collate, item, found)
        for item, found in zip(items, heard, strict=True)
    ]


def reading(
    run: Run,
    transcribe: Transcriber,
    collate: batches.Collate,
    item: tuple[str, Utterance],
    found: list[Hypothesis],
) -> explorer.Reading:
    """One recording on the page."""
    (title, utterance), settings, target = item, collate.settings, found[0].tokens
    count, shortening = batches.frames_of(utterance, settings), front_end(run.config).shortening
    # The step that reads BOS writes the first token.
    length = transcribe.padded_length(utterance)
    batch = collate([(utterance, target[:-1])], rows=1, length=length)
    moments = names(count, shortening, settings.hop / settings.rate)
    return explorer.Reading(
        source=moments,
        target=run.tokenizer.tokens(target),
        alternatives=[(one.text, one.score) for one in found],
        maps=attention_maps.attention_maps(
            run.model, batch, source_length=len(moments), target_length=len(target)
        ),
        picture=explorer.Picture(
            speech_alignment.spectrogram(batch.source[0, :count]),
            explorer.strips(len(moments), across=count / shortening),
            f"{title}. Time runs from left to right, high tones are above.",
        ),
    )


def whisper_reading(
    run: Run, transcribe: WhisperTranscriber, item: tuple[str, Utterance], found: list[Hypothesis]
) -> explorer.Reading:
    """One recording of a model that hears half a minute, of which the sound alone is shown."""
    (title, utterance), target = item, found[0].tokens
    batch = transcribe.batch([utterance], target)
    frames = min(len(batch.source[0]), max(1, round(utterance.length / HOP)))
    moments = names(frames, SHORTENING, HOP / RATE)
    maps: dict[str, attention_maps.Map] = {}
    # The encoder's have as many weights as it has positions, squared.
    for kind in ("decoder", "cross"):
        s, t = len(moments), len(target)
        maps |= attention_maps.attention_maps(
            run.model, batch, source_length=s, target_length=t, kind=kind
        )
    return explorer.Reading(
        source=moments,
        target=run.tokenizer.tokens(target),
        alternatives=[(one.text, one.score) for one in found],
        maps=maps,
        picture=explorer.Picture(
            speech_alignment.spectrogram(batch.source[0, :frames]),
            explorer.strips(len(moments), across=frames / SHORTENING),
            f"{title}. Time runs from left to right, high tones are above. The silence with which "
            "the model fills it up is not shown, nor the weights there.",
        ),
    )


def names(frames: int, shortening: int, seconds_per_frame: float) -> list[str]:
    """Names of the positions of a recording: when each begins.

    >>> names(9, 4, 0.01)
    ['0.00 s', '0.04 s', '0.08 s']
    """
    return [f"{first * seconds_per_frame:.2f} s" for first in range(0, frames, shortening)]


PAGE = Page("recording", about, items, check_alike, read)
