"""The Free Spoken Digit Dataset, from its zip file: single digits, or sequences of them.

Source: github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0. The official split: of each
speaker and digit the recordings 0 to 4 are the test, 5 to 49 for training.
"""

import re
import zipfile
import zlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attention_jax.core import checks
from attention_jax.data.audio import wav
from attention_jax.data.audio.corpus import Corpus, Skipped, Utterance, joined, of_array

RATE = 8000
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_NAME = re.compile(r"(?:.*/)?(\d)_([^_/]+)_(\d+)\.wav")
_FIRST_TRAINING, _FIRST_KEPT = 5, 7  # of each digit and speaker: 0 to 4 test, 5 and 6 validation

_SPLITS = {"train": 0, "validation": 1, "test": 2}


class Digit(NamedTuple):
    """One recording of one digit."""

    speaker: str
    index: int
    utterance: Utterance


def single(path: str | PathLike, *, skip_bad: bool = False) -> Corpus:
    """Every recording is one digit: 300 test recordings, 120 for validation, 2,580 for training.

    Args:
      path: the zip file.
      skip_bad: whether bad recordings are left out, and counted in `Corpus.skipped`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no zip file, is damaged, or holds a recording that is bad.
    """
    digits, skipped = _read(Path(path), skip_bad=skip_bad)
    of = {split: [d.utterance for d in _split(digits, split)] for split in _SPLITS}
    return Corpus(
        "fsdd", RATE, of["train"], of["validation"], {"test": of["test"]}, skipped=skipped
    )


def sequences(
    path: str | PathLike,
    *,
    fewest: int = 3,
    most: int = 7,
    train_fewest: int = 1,
    train_size: int = 8000,
    validation_size: int = 150,
    test_size: int = 500,
    seed: int = 0,
    skip_bad: bool = False,
) -> Corpus:
    """Every recording is `fewest` to `most` digits of one speaker, with pauses of 50 to 400 ms.

    They are drawn from `seed`; recordings of a split are joined with those of the same alone.
    Training recordings begin at `train_fewest` digits: attention that does not yet know where to
    look learns it on short ones first.

    Raises:
      FileNotFoundError, ValueError: as `single`; or a size out of range.
    """
    sizes = {"train": train_size, "validation": validation_size, "test": test_size}
    for split, size in sizes.items():
        checks.positive(f"{split}_size", size)
    for name, least in (("fewest", fewest), ("train_fewest", train_fewest)):
        if not 1 <= least <= most:
            raise ValueError(
                f"`{name}` must be at least 1 and at most `most`; got {name}={least}, most={most}."
            )
    digits, skipped = _read(Path(path), skip_bad=skip_bad)

    def make(split: str) -> list[Utterance]:
        pools: dict[str, list[Utterance]] = {}
        for digit in _split(digits, split):
            pools.setdefault(digit.speaker, []).append(digit.utterance)
        if not pools:
            raise ValueError(f"`path` must hold recordings of the {split} split; got none.")
        speakers, least = sorted(pools), train_fewest if split == "train" else fewest
        return [
            _sequence(f"{split} {i}", pools, speakers, (least, most), (seed, _SPLITS[split], i))
            for i in range(sizes[split])
        ]

    splits = {split: make(split) for split in _SPLITS}
    train, validation, test = splits.values()
    return Corpus("fsdd_joined", RATE, train, validation, {"test": test}, skipped=skipped)


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
    if not path.is_file():
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
            f"`data` must name a zip file; {path} is damaged or none ({_line(error)}). Fetch it "
            "again."
        ) from error
    if not digits:
        raise ValueError(
            f"`data` must hold recordings named digit_speaker_index.wav; {path} holds none."
        )
    return digits, tuple(skipped.reasons)


def _digit(opened: zipfile.ZipFile, name: str) -> Digit:
    matched = _NAME.fullmatch(name)
    if not matched:
        raise ValueError(f"`data` must hold recordings named digit_speaker_index.wav; got {name}.")
    try:
        data = opened.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(
            f"`data` must be whole; {name} is damaged ({_line(error)}). Fetch the zip file again."
        ) from error
    samples = wav.read(data, name=name, rate=RATE)
    digit, speaker, index = matched.groups()
    return Digit(speaker, int(index), of_array(name, WORDS[int(digit)], samples))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
