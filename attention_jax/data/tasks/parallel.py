"""Sentence pairs from files of many formats, or a preset corpus."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from attention_jax.core import checks
from attention_jax.core.plain_types import check_fields, typed_calls
from attention_jax.data.pairs import files
from attention_jax.data.pairs.delimited import read_tsv
from attention_jax.data.pairs.filters import Filters, keep
from attention_jax.data.pairs.two_files import read_two
from attention_jax.data.pairs.types import Found, Reading
from attention_jax.data.text_files import UNICODE_FORMS, one_spaced, unicode_form
from attention_jax.data.types import Example, Task

Pairs = Sequence[tuple[str, str]]

_ORIGINS = {
    "multi30k": "data/task1/raw of https://github.com/multi30k/dataset",
    "tatoeba_en_es": "spa-eng.zip of https://www.manythings.org/anki",
}
_PRESETS = "multi30k_XX_YY with two of de, en, fr, or tatoeba_en_es"


class ParallelConfig(NamedTuple):
    """Options of `parallel`.

    Attributes:
      pairs: a file of pairs, whose name tells its format: .tsv, .csv, .jsonl, .tmx (each also with
        .gz), "corpus" for the files "corpus.en" and "corpus.de", or a data set of Hugging Face
        (a folder of `save_to_disk`, or .parquet); or `source` and `target`, or `tsv`.
      format: that of `pairs`, where its name does not tell it; one of `pairs.files.FORMATS`.
      fields: names of source and target, "en,de": columns of CSV, keys of JSON (also of the object
        under "translation"), languages of TMX, ends of two files' names. Numbers are columns of CSV
        without a header.
      delimiter: the character between columns of CSV.
      source: file of source sentences, one a line; with `target`.
      target: file of their translations, line by line.
      tsv: one file of both, separated by tabs; instead of `source` and `target`.
      columns: columns of source and target in TSV files, counted from 1: "2,1" reverses the
        direction of a file.
      preset: "multi30k_XX_YY" (XX, YY of de, en, fr) in its published splits, lower-cased, or
        "tatoeba_en_es", held out by source; instead of files.
      data_dir: folder of preset corpora.
      validation: a file as `pairs` may be (TSV, where its name does not tell), or
        "SOURCE_FILE,TARGET_FILE".
      test: likewise.
      held_out_percent: share of source sentences held out for each split that is not given.
      skip_empty: leaves out pairs with an empty side instead of refusing them.
      drop_duplicates: leaves out pairs that were there before; not of given splits, as all that
        follow.
      shortest: leaves out pairs with a side of fewer units; 0: none.
      longest: leaves out pairs with a side of more units; 0: none.
      length_ratio: leaves out pairs with a side longer than so many times the other; 0: none.
      length_unit: "words", which white space separates, or "characters".
      lowercase: lower-cases text, and scores it so; presets choose for themselves.
      unicode: normal form of all text; see `text_files.unicode_form`.
      seed: salt of the hash, unless 0; given splits and presets do not depend on it.
    """

    pairs: str | None = None
    format: str | None = None
    fields: str | None = None
    delimiter: str = ","
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
    drop_duplicates: bool = False
    shortest: int = 0
    longest: int = 0
    length_ratio: float = 0.0
    length_unit: str = "words"
    lowercase: bool = False
    unicode: str = "nfc"
    seed: int = 0


@typed_calls
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
    check_fields(config)
    if config.preset is not None:
        return _preset(config)
    percent = config.held_out_percent
    if not 1 <= percent <= 45:
        raise ValueError(f"`held_out_percent` must lie between 1 and 45; got {percent}.")
    checks.one_of("unicode", config.unicode, UNICODE_FORMS)
    filters = Filters(*(getattr(config, name) for name in Filters._fields))
    filters.check()
    reading = Reading(config.format, config.fields, config.columns, config.delimiter)
    files.check_used(reading, (config.pairs, config.tsv, config.validation, config.test))
    found = _in_form(_training_pairs(config, reading), config.unicode)
    given = {
        name: _in_form(files.read_split(paths, reading, argument=name), config.unicode)
        for name, paths in (("validation", config.validation), ("test", config.test))
        if paths is not None
    }
    pairs, left_out = keep(found, filters, lowercase=config.lowercase)
    only = Filters(skip_empty=filters.skip_empty)
    splits = {}
    for name, own in given.items():
        splits[name], lost = keep(own, only)
        left_out |= {f"{reason}, of {name}": count for reason, count in lost.items()}
    lowercase, seed = config.lowercase, config.seed
    held_out = _hold_out(pairs, splits, percent=percent, lowercase=lowercase, seed=seed)
    return _task("parallel", held_out, lowercase=lowercase, left_out=left_out)


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
            found = read_tsv(folder / "spa-eng.zip", Reading(), argument="data_dir")
            pairs, _ = keep(_in_form(found, config.unicode), Filters())
            return _task(preset, _hold_out(pairs, {}, percent=5, lowercase=False, seed=0))
        splits = _multi30k(folder / "raw", multi30k.groups())
        pairs = {n: keep(_in_form(x, config.unicode), Filters())[0] for n, x in splits.items()}
        return _task(preset, pairs, lowercase=True)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error} Preset {preset!r} reads it; the files are {_ORIGINS[corpus]}."
        ) from error


def _multi30k(folder: Path, languages: Sequence[str]) -> dict[str, Found]:
    """The published splits of Multi30k."""
    stems = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
    splits = {}
    for split, stem in stems.items():
        source, target = (folder / f"{stem}.{language}.gz" for language in languages)
        splits[split] = read_two(source, target, arguments=("data_dir", "data_dir"))
    return splits


def _training_pairs(config: ParallelConfig, reading: Reading) -> Found:
    pairs, source, target, tsv = config.pairs, config.source, config.target, config.tsv
    given = [x is not None for x in (pairs, source, target, tsv)]
    if given == [True, False, False, False]:
        return files.read(str(pairs), reading, argument="pairs")
    if given == [False, False, False, True]:
        return read_tsv(str(tsv), reading, argument="tsv")
    if given == [False, True, True, False]:
        return read_two(str(source), str(target), arguments=("source", "target"))
    also = "" if pairs is None else f", pairs={pairs!r}"
    raise ValueError(
        "`pairs`, or `source` and `target`, or `tsv`, or `preset` must say which text to learn "
        f"from; got source={source!r}, target={target!r}, tsv={tsv!r}{also}."
    )


def _in_form(found: Found, form: str) -> Found:
    """Pairs in a normal form of Unicode, so that a sentence is found in whatever split it is."""
    pairs = [
        (unicode_form(source, form), unicode_form(target, form)) for source, target in found.pairs
    ]
    return found._replace(pairs=pairs)


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


def _task(
    name: str,
    splits: Mapping[str, Pairs],
    *,
    lowercase: bool = False,
    left_out: Mapping[str, int] | None = None,
) -> Task:
    """Groups references, and takes from each split the sources of those after it."""
    test = _group(splits["test"], lowercase=lowercase)
    validation = _group(splits["validation"], lowercase=lowercase)
    shared = [key for key in test if validation.pop(key, None)]
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
    repeated = {
        "of training, with a source of validation or test": len(splits["train"]) - len(train),
        "of validation, with a source of test": len(shared),
    }
    return Task(
        name=name,
        train=train,
        validation=list(validation.values()),
        tests={"test": list(test.values())},
        tokenizer="bpe",
        lowercase=lowercase,
        left_out={**(left_out or {}), **{name: n for name, n in repeated.items() if n}},
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
