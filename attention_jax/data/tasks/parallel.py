"""Sentence pairs from two aligned files, one TSV file, or a preset corpus."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from attention_jax.core import checks
from attention_jax.data.text_files import (
    UNICODE_FORMS,
    line_numbers,
    one_spaced,
    read_lines,
    unicode_form,
)
from attention_jax.data.types import Example, Task

Pairs = Sequence[tuple[str, str]]

_ORIGINS = {
    "multi30k": "data/task1/raw of https://github.com/multi30k/dataset",
    "tatoeba_en_es": "spa-eng.zip of https://www.manythings.org/anki",
}
_PRESETS = "multi30k_XX_YY with two of de, en, fr, or tatoeba_en_es"


class Columns(NamedTuple):
    """Columns of source and target in a TSV file, counted from 1, and the rule for empty ones."""

    source: int = 1
    target: int = 2
    skip_empty: bool = False


class ParallelConfig(NamedTuple):
    """Options of `parallel`.

    Attributes:
      source: file of source sentences, one a line; with `target`.
      target: file of their translations, line by line.
      tsv: one file of both, separated by tabs; instead of `source` and `target`.
      columns: columns of source and target in `tsv` files, counted from 1: "2,1" reverses the
        direction of a file.
      preset: "multi30k_XX_YY" (XX, YY of de, en, fr) in its published splits, lower-cased, or
        "tatoeba_en_es", held out by source; instead of files.
      data_dir: folder of preset corpora.
      validation: a TSV file, or "SOURCE_FILE,TARGET_FILE".
      test: likewise.
      held_out_percent: share of source sentences held out for each split that is not given.
      skip_empty: leaves out pairs with an empty side instead of refusing them.
      lowercase: lower-cases text, and scores it so; presets choose for themselves.
      unicode: normal form of all text; see `text_files.unicode_form`.
      seed: salt of the hash, unless 0; given splits and presets do not depend on it.
    """

    source: str | None = None
    target: str | None = None
    tsv: str | None = None
    columns: str = "1,2"
    preset: str | None = None
    data_dir: str | None = None
    validation: str | None = None
    test: str | None = None
    held_out_percent: int = 5
    skip_empty: bool = False
    lowercase: bool = False
    unicode: str = "nfc"
    seed: int = 0


def parallel(config: ParallelConfig) -> Task:
    """Sentence pairs from files: plain text, ".gz", or "archive.zip" and "archive.zip/member".

    Splits that `validation` and `test` do not give are held out from the pairs by source sentence:

        u = SHA-256(source), first 4 bytes, big-endian, mod 100
        test if u < held_out_percent, validation if it is below 2 held_out_percent
        (if one of them is given, the other is u < held_out_percent)

    so a sentence falls into the same split in every run and whatever else the file holds. In
    validation and test, all targets of one source are references of one example. A training pair
    whose source is also in given validation or test files is left out, and so is a validation
    sentence that is in the test.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: contradictory options, files that do not align, empty sentences, wrong columns,
        damaged archives, text that is not UTF-8, or an empty split.
    """
    if config.preset is not None:
        return _preset(config)
    percent = config.held_out_percent
    if not 1 <= percent <= 45:
        raise ValueError(f"`held_out_percent` must lie between 1 and 45; got {percent}.")
    checks.one_of("unicode", config.unicode, UNICODE_FORMS)
    columns = _columns(config.columns, skip_empty=config.skip_empty)
    pairs = _training_pairs(config.source, config.target, config.tsv, columns)
    given = {
        name: _read_split(paths, columns, argument=name)
        for name, paths in (("validation", config.validation), ("test", config.test))
        if paths is not None
    }
    pairs = _in_form(pairs, config.unicode)
    given = {name: _in_form(own, config.unicode) for name, own in given.items()}
    lowercase, seed = config.lowercase, config.seed
    held_out = _hold_out(pairs, given, percent=percent, lowercase=lowercase, seed=seed)
    return _task("parallel", held_out, lowercase=lowercase)


def _preset(config: ParallelConfig) -> Task:
    """A corpus under `data_dir` in its usual splits."""
    named = ("preset", "data_dir", "lowercase", "unicode", "seed")
    free = {name: getattr(config, name) for name in named}
    preset, data_dir = str(config.preset), config.data_dir
    if config != ParallelConfig(**free):
        raise ValueError(
            f"`preset` brings its own files and splits; got preset={preset!r} with options "
            "for files. Leave out all but `data_dir`."
        )
    multi30k = re.fullmatch(r"multi30k_(de|en|fr)_(?!\1)(de|en|fr)", preset)
    if multi30k is None and preset != "tatoeba_en_es":
        raise ValueError(f"`preset` must be {_PRESETS}; got {preset!r}.")
    corpus = "multi30k" if multi30k else preset
    if data_dir is None:
        raise ValueError(
            f"`data_dir` must name the folder that holds {corpus}/ for preset={preset!r}; "
            f"got None. The files are {_ORIGINS[corpus]}."
        )
    folder = Path(data_dir) / corpus
    try:
        if multi30k is None:
            pairs = _read_tsv(folder / "spa-eng.zip", Columns(), argument="data_dir")
            pairs = _in_form(pairs, config.unicode)
            return _task(preset, _hold_out(pairs, {}, percent=5, lowercase=False, seed=0))
        splits = _multi30k(folder / "raw", multi30k.groups())
        splits = {name: _in_form(own, config.unicode) for name, own in splits.items()}
        return _task(preset, splits, lowercase=True)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error} Preset {preset!r} reads it; the files are {_ORIGINS[corpus]}."
        ) from error


def _multi30k(folder: Path, languages: Sequence[str]) -> dict[str, Pairs]:
    """The published splits of Multi30k."""
    stems = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
    splits = {}
    for split, stem in stems.items():
        source, target = (folder / f"{stem}.{language}.gz" for language in languages)
        splits[split] = _read_two(source, target, Columns(), argument="data_dir")
    return splits


def _training_pairs(
    source: str | None, target: str | None, tsv: str | None, columns: Columns
) -> Pairs:
    if tsv is not None and source is None and target is None:
        return _read_tsv(tsv, columns, argument="tsv")
    if tsv is None and source is not None and target is not None:
        return _read_two(source, target, columns, argument="source")
    raise ValueError(
        "`source` and `target`, or `tsv`, or `preset` must say which text to learn from; got "
        f"source={source!r}, target={target!r}, tsv={tsv!r}."
    )


def _read_split(paths: str, columns: Columns, *, argument: str) -> Pairs:
    """Pairs of a TSV file, or of "SOURCE_FILE,TARGET_FILE"."""
    files = paths.split(",")
    if len(files) > 2:
        raise ValueError(
            f'`{argument}` must be a TSV file or "SOURCE_FILE,TARGET_FILE"; got {paths!r}.'
        )
    if len(files) == 2:
        return _read_two(*files, columns, argument=argument)
    return _read_tsv(paths, columns, argument=argument)


def _read_two(source: str | Path, target: str | Path, columns: Columns, *, argument: str) -> Pairs:
    """Pairs of line i of one file with line i of the other."""
    sources = read_lines(source, argument=argument)
    targets = read_lines(target, argument="target" if argument == "source" else argument)
    if len(sources) != len(targets):
        raise ValueError(
            "`source` and `target` must have equally many lines, line i of one translating line i "
            f"of the other; got {len(sources)} in {source} and {len(targets)} in {target}."
        )
    pairs = list(zip(sources, targets, strict=True))
    return _without_empty(pairs, where=f"{source} and {target}", skip_empty=columns.skip_empty)


def _read_tsv(path: str | Path, columns: Columns, *, argument: str) -> Pairs:
    """Pairs of two columns; every line that is not empty has the same number of them."""
    rows = [line.split("\t") for line in read_lines(path, argument=argument)]
    width = max((len(row) for row in rows if row != [""]), default=0)
    needed = max(columns.source, columns.target)
    if width < needed:
        raise ValueError(
            f"`{argument}` must have a column {needed}, separated by tabs; got {width} "
            f"column{'s' if width != 1 else ''} in {path}."
        )
    odd = [i for i, row in enumerate(rows, 1) if row != [""] and len(row) != width]
    if odd:
        raise ValueError(
            f"`{argument}` must have the same number of columns on every line; {path} has "
            f"{width}, but {len(rows[odd[0] - 1])} on {line_numbers(odd)}. "
            "Look for a tab too many or too few."
        )
    source, target = columns.source - 1, columns.target - 1
    pairs = [("", "") if row == [""] else (row[source], row[target]) for row in rows]
    return _without_empty(pairs, where=str(path), skip_empty=columns.skip_empty)


def _in_form(pairs: Pairs, form: str) -> Pairs:
    """Pairs in a normal form of Unicode, so that a sentence is found in whatever split it is."""
    return [(unicode_form(source, form), unicode_form(target, form)) for source, target in pairs]


def _without_empty(pairs: Pairs, *, where: str, skip_empty: bool) -> Pairs:
    full = [bool(source.strip() and target.strip()) for source, target in pairs]
    if not all(full) and not skip_empty:
        numbers = [i for i, is_full in enumerate(full, 1) if not is_full]
        raise ValueError(
            f"sentences must not be empty; {where} has an empty one on {line_numbers(numbers)}. "
            "Set `skip_empty` to leave such pairs out."
        )
    pairs = [pair for pair, is_full in zip(pairs, full, strict=True) if is_full]
    if not pairs:
        raise ValueError(f"files must hold at least one sentence pair; {where} has none.")
    return pairs


def _hold_out(
    pairs: Pairs, given: dict[str, Pairs], *, percent: int, lowercase: bool, seed: int
) -> dict[str, Pairs]:
    """Adds to the given splits what they lack, by hash of the source; the rest is for training."""
    missing = [split for split in ("test", "validation") if split not in given]
    splits: dict[str, list] = {split: [] for split in ("train", *missing)}
    for source, target in pairs:
        key = _key(source, lowercase=lowercase)
        place = _bucket(f"{seed}\t{key}" if seed else key) // percent
        splits[missing[place] if place < len(missing) else "train"].append((source, target))
    for split in splits:
        if not splits[split]:
            raise ValueError(
                f"`held_out_percent` must leave a sentence to every split; {percent} % of "
                f"{len(pairs)} pairs left none for {split}. Give files for validation and test, "
                "or more pairs."
            )
    return {**splits, **given}


def _bucket(text: str) -> int:
    """A number from 0 to 99 that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 100


def _task(name: str, splits: dict[str, Pairs], *, lowercase: bool = False) -> Task:
    """Groups references, and takes from each split the sources of those after it."""
    test = _group(splits["test"], lowercase=lowercase)
    validation = _group(splits["validation"], lowercase=lowercase)
    for key in test:
        validation.pop(key, None)
    held_out = test.keys() | validation.keys()
    train = [
        Example(one_spaced(source), (one_spaced(target),))
        for source, target in splits["train"]
        if _key(source, lowercase=lowercase) not in held_out
    ]
    if not train or not validation:
        raise ValueError(
            "files must differ between the splits; every training or validation sentence is also "
            f"in a later split ({len(train)} left for training, {len(validation)} for validation)."
        )
    return Task(
        name=name,
        train=train,
        validation=list(validation.values()),
        tests={"test": list(test.values())},
        tokenizer="bpe",
        lowercase=lowercase,
    )


def _group(pairs: Pairs, *, lowercase: bool) -> dict[str, Example]:
    """One example for each source, with all its targets in the order of the file."""
    grouped: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    for source, target in pairs:
        key = _key(source, lowercase=lowercase)
        texts.setdefault(key, one_spaced(source))
        grouped.setdefault(key, []).append(one_spaced(target))
    return {
        key: Example(texts[key], tuple(dict.fromkeys(targets))) for key, targets in grouped.items()
    }


def _key(source: str, *, lowercase: bool) -> str:
    """Normal form of a source: sources of equal keys are the same sentence."""
    source = one_spaced(source)
    return source.lower() if lowercase else source


def _columns(columns: str, *, skip_empty: bool) -> Columns:
    match = re.fullmatch(r"([1-9]\d*),([1-9]\d*)", columns)
    if match is None or match[1] == match[2]:
        raise ValueError(
            f'`columns` must be two different numbers from 1, such as "1,2"; got {columns!r}.'
        )
    return Columns(int(match[1]), int(match[2]), skip_empty)
