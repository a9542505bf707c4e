"""The one way to read a file of pairs, in whatever format it is."""

import os
from collections.abc import Sequence
from pathlib import Path

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.data.pairs.delimited import read_csv, read_tsv
from attention_jax.data.pairs.hugging_face import is_one, read_datasets
from attention_jax.data.pairs.jsonl import read_jsonl
from attention_jax.data.pairs.tmx import read_tmx
from attention_jax.data.pairs.two_files import languages, read_moses, read_two
from attention_jax.data.pairs.types import Found, Reading

_READERS = {
    "tsv": read_tsv,
    "csv": read_csv,
    "jsonl": read_jsonl,
    "tmx": read_tmx,
    "moses": read_moses,
    "datasets": read_datasets,
}
FORMATS = tuple(_READERS)
_SUFFIXES = {
    ".tsv": "tsv",
    ".tab": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".tmx": "tmx",
}
# The formats that an option of `Reading` is of, and what to do for the others.
_OPTIONS = {
    "fields": (
        {"csv", "jsonl", "tmx", "moses", "datasets"},
        "Columns of TSV have numbers: --columns=1,2.",
    ),
    "columns": ({"tsv"}, "Columns, keys and languages of the others have names: --fields=en,de."),
    "delimiter": ({"csv"}, "Leave it out, or say --format=csv."),
}


@typed_calls
def read(path: str | Path, reading: Reading, *, argument: str, other: str | None = None) -> Found:
    """Pairs of a file.

    Args:
      path: the file; of "corpus.en" and "corpus.de" it is "corpus".
      reading: how it is read.
      argument: the caller's name for it in errors.
      other: the format of files whose names do not tell it; None: refused.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: an unknown format, or a file that is not of its format.
    """
    checks.one_of("other", other, (None, *FORMATS))
    kind = reading.format or format_of(path) or other
    if kind is None:
        known = ", ".join(_SUFFIXES)
        raise ValueError(
            f"`{argument}` must have a name that tells its format ({known}, each also with .gz), "
            f"be what two aligned files have alike, or a data set of Hugging Face; got {path}. Say "
            f"it by `format`, one of {', '.join(FORMATS)}."
        )
    checks.one_of("format", kind, FORMATS)
    return _READERS[kind](path, reading, argument=argument)


@typed_calls
def read_split(paths: str, reading: Reading, *, argument: str) -> Found:
    """Pairs of a file, or of "SOURCE_FILE,TARGET_FILE"; a name that tells no format is of TSV."""
    files = [paths] if os.path.exists(paths) else paths.split(",")
    if len(files) > 2:
        raise ValueError(
            f'`{argument}` must be a file of pairs or "SOURCE_FILE,TARGET_FILE"; got {paths!r}.'
        )
    if len(files) == 2:
        return read_two(*files, arguments=(argument, argument))
    return read(paths, reading, argument=argument, other="tsv")


@typed_calls
def check_used(reading: Reading, paths: Sequence[str | None]) -> None:
    """Raises where an option is given that is of the format of none of the files.

    Args:
      reading: how files are read.
      paths: those given; names that tell no format are of TSV. None at all: two aligned files.

    Raises:
      ValueError: for example `fields`, where all files are TSV.
    """
    kinds = {reading.format or format_of(path) or "tsv" for path in paths if path}
    for name, (users, remedy) in _OPTIONS.items():
        got = getattr(reading, name)
        if got != Reading._field_defaults[name] and not kinds & users:
            raise ValueError(
                f"`{name}` is of {', '.join(sorted(users))}; got {name}={got!r} for files of "
                f"{', '.join(sorted(kinds)) or 'aligned lines'}. {remedy}"
            )


@typed_calls
def format_of(path: str | Path) -> str | None:
    """The format that a name tells; None where it tells none.

    >>> format_of("pairs.csv.gz")
    'csv'
    """
    name = str(path).lower().removesuffix(".gz").removesuffix(".zip")
    found = "datasets" if is_one(path) else _SUFFIXES.get(Path(name).suffix)
    if found is None and not os.path.exists(path) and len(languages(path)) > 1:
        return "moses"
    return found
