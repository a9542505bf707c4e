"""A user's own recordings with transcripts: a folder, or a table that names the files.

corpus = folder.read("interviews", rate=16000)            # a.wav beside a.txt
corpus = folder.read("interviews.tsv", rate=16000)        # file<TAB>transcript[<TAB>split]
"""

import os
import random
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.data import text_files
from attention_jax.data.audio import wav
from attention_jax.data.audio.corpus import (
    Corpus,
    Samples,
    Skipped,
    Utterance,
    checked_transcript,
)
from attention_jax.data.folders import is_hidden, unused

SPLITS = ("train", "validation", "test")


class Row(NamedTuple):
    """A recording's file, transcript, and split; "" if none is named."""

    path: Path
    transcript: str
    split: str = ""


@typed_calls
def read(
    path: str | PathLike,
    *,
    rate: int,
    resample: bool = False,
    skip_bad: bool = False,
    seed: int = 0,
    argument: str = "path",
) -> Corpus:
    """Recordings of a folder or a table, each read once to check that it is whole.

    A folder holds `name.txt` beside each `name.wav` or `name.flac`, at any depth; hidden files are
    left out. Paths in a table are relative to its own folder. If no split is named, a tenth is
    drawn for validation and a tenth for the test.

    Args:
      path: a folder, or a file of tab-separated lines.
      rate: samples a second.
      resample: resamples recordings of other rates, which are bad otherwise.
      skip_bad: leaves bad recordings out, and counts them in `Corpus.skipped`.
      seed: seed of the split.
      argument: the caller's name for the path in errors.

    Raises:
      FileNotFoundError: there is no such folder or table.
      ValueError: a bad recording, a bad line, or too few recordings for three splits.
    """
    checks.positive("rate", rate)
    path = Path(path)
    rows = (_of_folder if os.path.isdir(path) else _of_table)(path, argument)
    skipped = Skipped(skip_bad)

    def load(row: Row) -> Utterance:
        transcript = checked_transcript(row.transcript, name=str(row.path))
        samples = lambda: _samples(row.path, rate, resample, argument)  # noqa: E731
        return Utterance(str(row.path), transcript, len(samples()), samples)

    found = [(row, skipped.attempt(lambda row=row: load(row))) for row in rows]
    kept = [(row.split, utterance) for row, utterance in found if utterance is not None]
    if not all(split for split, _ in kept):
        kept = _drawn([utterance for _, utterance in kept], seed)
    of = {name: [utterance for split, utterance in kept if split == name] for name in SPLITS}
    for name, utterances in of.items():
        if not utterances:
            raise ValueError(
                f"`{argument}` must hold a recording for each of {', '.join(SPLITS)}; {path} "
                f"has none for {name}, of {len(kept)} in all. Add recordings, or name the splits."
            )
    return Corpus(
        name=path.stem,
        rate=rate,
        train=of["train"],
        validation=of["validation"],
        tests={"test": of["test"]},
        skipped=tuple(skipped.reasons),
        unused=_unused(path, [row.path for row in rows]),
    )


def _unused(path: Path, recordings: list[Path]) -> dict[str, int]:
    """The files of a folder that are neither recordings nor their transcripts, by kind."""
    if not os.path.isdir(path):
        return {}
    transcripts = [file.with_suffix(suffix) for file in recordings for suffix in (".txt", ".TXT")]
    return unused(path, [*recordings, *transcripts])


def _samples(path: Path, rate: int, resample: bool, argument: str) -> Samples:
    if not os.path.isfile(path):
        raise ValueError(f"`{argument}` must name files that exist; {path} does not.")
    return wav.read(path.read_bytes(), name=str(path), rate=rate, resample=resample)


def _of_folder(path: Path, argument: str) -> list[Row]:
    own = (file for file in path.rglob("*") if file.suffix.lower() in wav.SUFFIXES)
    files = sorted(file for file in own if not is_hidden(file, path))
    if not files:
        raise ValueError(
            f"`{argument}` must be a folder of recordings ({', '.join(wav.SUFFIXES)}); {path} "
            "holds none."
        )
    return [Row(file, _text_beside(file)) for file in files]


def _text_beside(file: Path) -> str:
    for text in (file.with_suffix(".txt"), file.with_suffix(".TXT")):
        if os.path.isfile(text):
            return " ".join(text_files.read_lines(text, argument="transcript"))
    return ""


def _of_table(path: Path, argument: str) -> list[Row]:
    rows = []
    for number, line in enumerate(text_files.read_lines(path, argument=argument), 1):
        parts = line.split("\t")
        if not line.strip():
            continue
        if len(parts) not in (2, 3) or (len(parts) == 3 and parts[2] not in SPLITS):
            raise ValueError(
                f"`{argument}` must hold lines of file, transcript and, if any, the split "
                f"({', '.join(SPLITS)}), with tabs between; line {number} of {path} is "
                f"{line[:80]!r}."
            )
        rows.append(Row(path.parent / parts[0], *parts[1:]))
    named = sum(bool(row.split) for row in rows)
    if named not in (0, len(rows)):
        raise ValueError(
            f"`{argument}` must name the split on all lines or on none; {path} names it on "
            f"{named} of {len(rows)}."
        )
    return rows


def _drawn(utterances: list[Utterance], seed: int) -> list[tuple[str, Utterance]]:
    order = list(utterances)
    random.Random(f"recordings {seed}").shuffle(order)
    tenth = -(-len(order) // 10)
    splits = ["validation"] * tenth + ["test"] * tenth
    splits += ["train"] * (len(order) - len(splits))
    return list(zip(splits, order, strict=False))
