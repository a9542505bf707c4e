"""What the page shows of runs of experiments.speech: moments of sound, and their transcripts."""

from pathlib import Path
from typing import NamedTuple

from absl import flags
from flax import nnx

from attention_jax.analysis import attention_maps
from attention_jax.analysis.pages import explorer
from attention_jax.analysis.plots import speech_alignment
from attention_jax.data.audio import batches, spectrogram
from attention_jax.data.audio.corpus import Skipped, Utterance
from attention_jax.decoding.translate import Hypothesis
from experiments import inputs, listening, trained
from experiments.visualize_text import ALTERNATIVES, beam, check_vocabularies

FLAGS = flags.FLAGS
OF = "recording"


class Loaded(NamedTuple):
    """A trained run, and how many frames make a position of its encoder."""

    run: explorer.Run
    folder: Path
    found: listening.Trained
    shortening: int


def load(folder: Path) -> Loaded:
    """A run's model, with the flags that it was trained by.

    Raises:
      ValueError: it has no attention.
    """
    trained.refuse("speech", "text")
    found = listening.load_run(folder, lambda: beam(FLAGS.alternatives or ALTERNATIVES))
    ctc = FLAGS.loss == "ctc"
    attention = listening.attention_name()
    if attention == "none":
        raise ValueError(
            f"`--run` must be of a model with attention; {folder} is of an RNN "
            f"{'that CTC trained, without decoder' if ctc else 'without'}. Use another run."
        )
    about = f"{trained.about(attention)}{', CTC: no decoder' if ctc else ''}"
    run = explorer.Run(folder.resolve().name, about)
    return Loaded(run, folder, found, listening.listening().shortening)


def check_alike(first: Loaded, other: Loaded) -> None:
    """Only runs that hear at one rate and write the same tokens can stand side by side."""
    rates = [loaded.found.transcriber.settings.rate for loaded in (first, other)]
    if rates[0] != rates[1]:
        raise ValueError(
            f"`--other_run` must hear at the rate of `--run`; got {rates[1]} beside {rates[0]} "
            "samples a second. Write a page of each."
        )
    check_vocabularies(first.folder, other.folder)


def given(loaded: Loaded) -> list[tuple[str, Utterance]]:
    """The recordings that --file names, or the first of the test, with titles."""
    if FLAGS.file is not None:
        settings = loaded.found.transcriber.settings
        own = inputs.recordings(
            FLAGS.file, settings, resample=FLAGS.resample, skip_bad=FLAGS.skip_bad
        )
        return [(utterance.name, utterance) for utterance in own]
    first_test = next(iter(listening.load_corpus().tests.values()))
    read = loaded.found.transcriber.padded_length
    first_test = listening.passing(first_test, read, Skipped(FLAGS.skip_bad))
    return [(f"{one.name}: {one.transcript}", one) for one in first_test[: FLAGS.examples]]


def read(loaded: Loaded, items: list[tuple[str, Utterance]]) -> list[explorer.Reading]:
    """What a run makes of each recording: transcripts, and the weights of the best."""
    transcriber = loaded.found.transcriber
    heard = transcriber(loaded.found.params, [utterance for _, utterance in items])
    # One length of all targets, so that few programs are compiled.
    longest = max(len(found[0].tokens) for found in heard)
    collate = batches.Collate(transcriber.settings, spectrogram.padded_length(longest + 1, 8))
    return [
        _reading(loaded, collate, title, utterance, found)
        for (title, utterance), found in zip(items, heard, strict=True)
    ]


def _reading(
    loaded: Loaded,
    collate: batches.Collate,
    title: str,
    utterance: Utterance,
    found: list[Hypothesis],
) -> explorer.Reading:
    graphdef, params, vocabulary, transcriber = loaded.found
    settings, target = collate.settings, found[0].tokens
    count = batches.frames_of(utterance, settings)
    # The step that reads BOS writes the first token.
    length = transcriber.padded_length(utterance)
    batch = collate([(utterance, target[:-1])], rows=1, length=length)
    moments = names(count, loaded.shortening, settings.hop / settings.rate)
    return explorer.Reading(
        source=moments,
        target=vocabulary.tokens(target),
        alternatives=[(one.text, one.score) for one in found],
        maps=attention_maps.attention_maps(
            nnx.merge(graphdef, params),
            batch,
            source_length=len(moments),
            target_length=len(target),
        ),
        picture=explorer.Picture(
            speech_alignment.spectrogram(batch.source[0, :count]),
            explorer.strips(len(moments), across=count / loaded.shortening),
            f"{title}. Time runs from left to right, high tones are above.",
        ),
    )


def names(frames: int, shortening: int, seconds_per_frame: float) -> list[str]:
    """When the positions of a recording begin.

    >>> names(9, 4, 0.01)
    ['0.00 s', '0.04 s', '0.08 s']
    """
    return [f"{first * seconds_per_frame:.2f} s" for first in range(0, frames, shortening)]
