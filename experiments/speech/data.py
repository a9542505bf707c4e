"""Recordings of a run about speech, without those that are bad, and their batches."""

import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attention_jax.data.audio import spoken_digits, tone_words
from attention_jax.data.audio.batches import frames_of, make
from attention_jax.data.audio.corpus import Corpus, Skipped, Utterance
from attention_jax.data.audio.folder import read
from attention_jax.data.batching import BucketedBatches
from attention_jax.data.folders import in_words
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.decoding import ctc
from experiments.common import vocabularies
from experiments.common.experiment import structure
from experiments.speech.config import (
    SOUNDS,
    DataFlags,
    SpeechConfig,
    build,
    front_end,
    spectrogram,
    transcriber,
)

DIGITS = "fsdd/fsdd_recordings.zip"


def load(config: SpeechConfig) -> Corpus:
    """The recordings that can be learned and read.

    Raises:
      ValueError: a recording is bad, and bad ones are not left out; or the search cannot be.
    """
    search = config.decoding.search(config.run.seed, nbest=1)
    if config.listen.loss == "ctc":
        search.options.refuse_all(search="--loss=ctc", remedy="Leave it out.")
    corpus = load_corpus(config.data, config.run.seed)
    return without_unusable(config, corpus, vocabulary_of(config.data, corpus))


def notes(corpus: Corpus) -> Iterator[str]:
    """The data in numbers."""
    splits = {"training": corpus.train, "validation": corpus.validation, **corpus.tests}
    sizes = ", ".join(f"{len(split):,} of {name}" for name, split in splits.items())
    yield f"{corpus.name}: recordings: {sizes}"
    if corpus.unused:
        yield f"{corpus.name}: not used: {in_words(corpus.unused)}"


def contents(corpus: Corpus) -> dict[str, Any]:
    """The transcripts and samples of each split, whatever their files are called."""
    splits = {"train": corpus.train, "validation": corpus.validation, **corpus.tests}
    return {
        "rate": corpus.rate,
        **{name: [(x.transcript, x.samples) for x in split] for name, split in splits.items()},
    }


def load_corpus(data: DataFlags, seed: int) -> Corpus:
    """The recordings that flags name."""
    if data.sounds == "tones":
        return tone_words.tones(**{"seed": seed} | _options(data, tone_words.tones))
    if data.sounds in SOUNDS:
        path = Path(data.data_dir) / DIGITS
        if data.sounds == "fsdd":
            return spoken_digits.single(path, skip_bad=data.skip_bad)
        options = _options(data, spoken_digits.sequences)
        single = spoken_digits.single(path, skip_bad=data.skip_bad)
        return spoken_digits.sequences(single, **options)
    if not os.path.exists(data.sounds):
        raise ValueError(
            f"`--sounds` must be {', '.join(SOUNDS)}, or a folder or table of recordings; got "
            f"{data.sounds}, which does not exist."
        )
    return read(
        data.sounds,
        rate=data.rate,
        resample=data.resample,
        skip_bad=data.skip_bad,
        seed=seed,
        argument="--sounds",
    )


def vocabulary_of(data: DataFlags, corpus: Corpus) -> Tokenizer:
    """The tokens of the training transcripts."""
    kind = data.transcript_tokens or corpus.tokenizer
    return Tokenizer.learn((utterance.transcript for utterance in corpus.train), kind=kind)


def learn(config: SpeechConfig, corpus: Corpus, folder: Path | None) -> Tokenizer:
    """The tokens of the training transcripts, which must be those of a folder that has some."""
    return vocabularies.same(vocabulary_of(config.data, corpus), folder)


def without_unusable(config: SpeechConfig, corpus: Corpus, vocabulary: Tokenizer) -> Corpus:
    """The corpus without recordings that are too short; says how many were left out in all.

    Raises:
      ValueError: one is, and bad ones are not left out; or none is left of a split.
    """
    bad = Skipped(config.data.skip_bad)
    graphdef = structure(build(config, vocabulary))
    read = transcriber(config, vocabulary, graphdef, corpus.rate).padded_length
    learn = partial(learnable, config=config, vocabulary=vocabulary, rate=corpus.rate)
    train = passing(corpus.train, learn, bad)
    validation = passing(passing(corpus.validation, learn, bad), read, bad)
    tests: dict[str, Sequence[Utterance]] = {
        name: passing(own, read, bad) for name, own in corpus.tests.items()
    }
    for name, kept in {"train": train, "validation": validation, **tests}.items():
        if bad.reasons and not kept:
            raise ValueError(
                f"`--skip_bad` must leave a recording of each split; it left none of {name}. The "
                f"first that is bad: {bad.reasons[0]}"
            )
    skipped = (*corpus.skipped, *bad.reasons)
    if skipped:
        print(f"{len(skipped)} recordings are bad, and left out; the first: {skipped[0]}")
    return corpus._replace(train=train, validation=validation, tests=tests, skipped=skipped)


def passing(
    utterances: Sequence[Utterance], check: Callable[[Utterance], int], bad: Skipped
) -> list[Utterance]:
    """Recordings that a check does not refuse.

    Raises:
      ValueError: as `check` does, where bad recordings are not left out.
    """
    return [one for one in utterances if bad.attempt(partial(check, one)) is not None]


def learnable(
    utterance: Utterance, *, config: SpeechConfig, vocabulary: Tokenizer, rate: int
) -> int:
    """The frames of a recording; CTC needs a position for each token, and one between equals.

    Raises:
      ValueError: they are too few.
    """
    frames = frames_of(utterance, spectrogram(config, rate))
    shortening, loss = front_end(config).shortening, config.listen.loss
    needed = ctc.frames_needed(vocabulary.encode(utterance.transcript))
    if loss != "attention" and -(-frames // shortening) < needed:
        raise ValueError(
            f"`--loss={loss}` needs {needed} positions to spell {utterance.transcript!r}; "
            f"{utterance.name} has {frames} frames, of which {shortening} make a position. Lower "
            "--halvings or --pyramid."
        )
    return frames


def batches(config: SpeechConfig, corpus: Corpus, vocabulary: Tokenizer) -> BucketedBatches:
    """Batches of training."""
    return batches_of(config, "train", corpus, vocabulary)


def batches_of(
    config: SpeechConfig, split: str, corpus: Corpus, vocabulary: Tokenizer
) -> BucketedBatches:
    """Batches of a split; says how many recordings are too long."""
    utterances, own = corpus.train if split == "train" else corpus.validation, config.data
    found = make(
        utterances,
        vocabulary,
        spectrogram(config, corpus.rate),
        frames_per_batch=own.frames_per_batch,
        max_frames=own.max_frames,
        buckets=own.buckets,
        seed=config.run.seed,
        shuffle=split == "train",
    )
    if found.too_long:
        print(
            f"{split}: {found.too_long} of {len(utterances)} recordings are longer than "
            f"--max_frames={own.max_frames} and left out"
        )
    return found


def _options(data: DataFlags, function: Callable[..., Corpus]) -> dict[str, Any]:
    """The values of --sound_option, as numbers."""
    known = inspect.signature(function).parameters
    found: dict[str, Any] = {}
    for item in data.sound_option:
        name, _, value = item.partition("=")
        if name not in known or name == "corpus":
            listed = [one for one in known if one != "corpus"]
            raise ValueError(
                f"`--sound_option` must be name=value with a name among {', '.join(listed)}; got "
                f"{item!r}."
            )
        kind = known[name].annotation
        try:
            found[name] = kind(value)
        except ValueError as error:
            raise ValueError(
                f"`--sound_option` {name} must be a number ({kind.__name__}); got {value!r}."
            ) from error
    return found
