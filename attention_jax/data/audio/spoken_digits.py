"""Free Spoken Digit Dataset, from its zip file: single digits, or sequences of them.

Source: github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0. In the official split,
recordings 0 to 4 of each speaker and digit are the test, 5 to 49 for training.
"""

import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.wording import one_line
from attention_jax.data.audio import wav
from attention_jax.data.audio.corpus import Corpus, Skipped, Utterance, joined, of_array

RATE = 8000
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NAME = re.compile(r"(?:.*/)?(\d)_([^_/]+)_(\d+)\.wav")
_FIRST_TRAINING, _FIRST_KEPT = 5, 7  # of each digit and speaker: 0 to 4 test, 5 and 6 validation

_SPLITS = {"train": 0, "validation": 1, "test": 2}


class Digit(NamedTuple):
    """A recording of one digit."""

    index: int
    utterance: Utterance


@typed_calls
def single(path: str | PathLike, *, skip_bad: bool = False) -> Corpus:
    """Recordings of one digit each: 300 for the test, 120 for validation, 2,580 for training.

    Args:
      path: the zip file.
      skip_bad: leaves bad recordings out, and counts them in `Corpus.skipped`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no zip file, is damaged, or holds a bad recording.
    """
    digits, skipped = _read(Path(path), skip_bad=skip_bad)
    of = {split: [d.utterance for d in _split(digits, split)] for split in _SPLITS}
    return Corpus(
        "fsdd", RATE, of["train"], of["validation"], {"test": of["test"]}, skipped=skipped
    )


@typed_calls
def sequences(
    corpus: Corpus,
    *,
    fewest: int = 3,
    most: int = 7,
    train_fewest: int = 1,
    train_size: int = 8000,
    validation_size: int = 150,
    test_size: int = 500,
    seed: int = 0,
) -> Corpus:
    """Recordings of `fewest` to `most` digits of one speaker, with pauses of 50 to 400 ms.

        corpus = sequences(single(path), seed=0)

    They are drawn from `seed`; each split joins recordings of that split alone. Training recordings
    begin at `train_fewest` digits: attention that does not yet know where to look learns it on
    short ones first.

    Args:
      corpus: single digits, as `single` gives them.
      fewest, most: numbers of digits in a recording.
      train_fewest: `fewest` in training.
      train_size, validation_size, test_size: numbers of recordings in the splits.
      seed: seed of the draws, not negative.

    Raises:
      ValueError: a number is out of range, or a split has no recordings.
    """
    sizes = {"train": train_size, "validation": validation_size, "test": test_size}
    for split, size in sizes.items():
        checks.positive(f"{split}_size", size)
    checks.natural("seed", seed)
    for name, least in (("fewest", fewest), ("train_fewest", train_fewest)):
        if not 1 <= least <= most:
            raise ValueError(
                f"`{name}` must be at least 1 and at most `most`; got {name}={least}, most={most}."
            )
    of = {"train": corpus.train, "validation": corpus.validation, "test": corpus.tests["test"]}

    def make(split: str) -> list[Utterance]:
        pools: dict[str, list[Utterance]] = {}
        for utterance in of[split]:
            pools.setdefault(_parts(utterance.name)[1], []).append(utterance)
        if not pools:
            raise ValueError(f"`corpus` must hold recordings of the {split} split; got none.")
        speakers, least = sorted(pools), train_fewest if split == "train" else fewest
        return [
            _sequence(f"{split} {i}", pools, speakers, (least, most), (seed, _SPLITS[split], i))
            for i in range(sizes[split])
        ]

    train, validation, test = (make(split) for split in _SPLITS)
    return Corpus("fsdd_joined", RATE, train, validation, {"test": test}, skipped=corpus.skipped)


def _sequence(
    name: str,
    pools: dict[str, list[Utterance]],
    speakers: list[str],
    counts: tuple[int, int],
    seed: tuple[int, ...],
) -> Utterance:
    generator = np.random.default_rng(seed)
    speaker = speakers[int(generator.integers(len(speakers)))]
    count = int(generator.integers(counts[0], counts[1] + 1))
    parts = [pools[speaker][i] for i in generator.integers(len(pools[speaker]), size=count)]
    pauses = [int(RATE * x) for x in generator.uniform(0.05, 0.4, count + 1)]
    return joined(f"{name} {speaker}", parts, pauses, (*seed, 1))


def _split(digits: Sequence[Digit], split: str) -> list[Digit]:
    first, last = {
        "test": (0, _FIRST_TRAINING),
        "validation": (_FIRST_TRAINING, _FIRST_KEPT),
        "train": (_FIRST_KEPT, 10**9),
    }[split]
    return [digit for digit in digits if first <= digit.index < last]


def _read(path: Path, *, skip_bad: bool) -> tuple[list[Digit], tuple[str, ...]]:
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"`data` must name the zip file of the Free Spoken Digit Dataset; {path} does not "
            "exist. Fetch it, or name its folder by --data_dir."
        )
    skipped, digits = Skipped(skip_bad), []
    try:
        with zipfile.ZipFile(path) as opened:
            for name in sorted(n for n in opened.namelist() if n.endswith(".wav")):
                found = skipped.attempt(lambda name=name: _digit(opened, name))
                if found is not None:
                    digits.append(found)
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"`data` must name a zip file; {path} is damaged or none ({one_line(error)}). Fetch it "
            "again."
        ) from error
    if not digits:
        raise ValueError(
            f"`data` must hold recordings named digit_speaker_index.wav; {path} holds none."
        )
    return digits, tuple(skipped.reasons)


def _digit(opened: zipfile.ZipFile, name: str) -> Digit:
    digit, _, index = _parts(name)
    try:
        data = opened.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(
            f"`data` must be whole; {name} is damaged ({one_line(error)}). "
            "Fetch the zip file again."
        ) from error
    samples = wav.read(data, name=name, rate=RATE)
    return Digit(int(index), of_array(name, WORDS[int(digit)], samples))


def _parts(name: str) -> tuple[str, str, str]:
    """Digit, speaker and index of a recording's name."""
    matched = _NAME.fullmatch(name)
    if not matched:
        raise ValueError(f"`data` must hold recordings named digit_speaker_index.wav; got {name}.")
    digit, speaker, index = matched.groups()
    return digit, speaker, index
