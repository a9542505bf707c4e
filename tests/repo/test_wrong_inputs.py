"""Wrong arguments of readers, tokenizers and tasks: each is refused in one line.

The line names the argument; a row is as in `test_wrong_settings.py`. No file of a row is there.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import data
from attention_jax.data import batching, folders, text_columns, text_files
from attention_jax.data.audio import (
    batches,
    corpus,
    folder,
    spectrogram,
    spoken_digits,
    tone_words,
    wav,
)
from attention_jax.data.audio.spectrogram import Spectrogram
from attention_jax.data.images import datasets
from attention_jax.data.pairs import delimited, files, filters, jsonl, tmx, two_files
from attention_jax.data.pairs.types import Found, Reading
from attention_jax.data.tasks import addition, dates, lists, numbers, parallel, scan, spanish
from tests.repo.wrong_values import Row, assert_each_is_named, assert_one_too_many_is_named, wrong

TOKENIZER = data.Tokenizer.learn(["a b"], kind="word")
SOUND = corpus.of_array("a", "a b", np.zeros(900, np.float32))
ITEMS, SETTINGS = [(SOUND, [4, 5])], Spectrogram(highest=4000.0)
SPEECH = corpus.Corpus("a", 8000, [SOUND], [SOUND], {"test": [SOUND]})
PATH = {"path": ("x",)}
AUDIO = {
    "batches.make": Row(
        batches.make,
        {
            "utterances": [SOUND],
            "tokenizer": TOKENIZER,
            "settings": SETTINGS,
            "frames_per_batch": 900,
            "max_frames": 900,
            "buckets": 2,
            "seed": 3,
            "shuffle": True,
        },
        {"seed": (0,)},
    ),
    "frames_of": Row(batches.frames_of, {"utterance": SOUND, "settings": SETTINGS}),
    "tight": Row(batches.tight, {"lengths": [9, 12], "buckets": 2}),
    "Collate": Row(
        batches.Collate, {"settings": SETTINGS, "target_length": 8}, {"target_length": (None,)}
    ),
    "Collate of items": Row(batches.Collate(SETTINGS), {"items": ITEMS, "rows": 2, "length": 8}),
    "batches.one": Row(
        batches.one,
        {"items": ITEMS, "settings": SETTINGS, "rows": 2, "length": 8, "target_length": 8},
        dict.fromkeys(("rows", "length", "target_length"), (None,)),
    ),
    "of_array": Row(
        corpus.of_array,
        {"name": "a", "transcript": "b", "samples": np.zeros(9, np.float32)},
        {"name": ("x",), "transcript": ("x",)},
    ),
    "joined": Row(
        corpus.joined,
        {"name": "a", "parts": [SOUND], "pauses": [1, 2], "seed": [3]},
        {"name": ("x",)},
    ),
    "folder.read": Row(
        folder.read,
        {"path": "none", "rate": 8000, "resample": False, "skip_bad": False, "seed": 3},
        PATH | {"seed": (0, -1)},
    ),
    "mel_filters": Row(spectrogram.mel_filters, {"settings": SETTINGS}),
    "frames": Row(SETTINGS.frames, {"samples": 900}, {"samples": (0,)}),
    "log_mel": Row(spectrogram.log_mel, {"samples": jnp.zeros(900), "settings": SETTINGS}),
    "single": Row(spoken_digits.single, {"path": "none", "skip_bad": False}, PATH),
    "sequences": Row(
        spoken_digits.sequences,
        {
            "corpus": SPEECH,
            "fewest": 2,
            "most": 3,
            "train_fewest": 2,
            "train_size": 2,
            "validation_size": 2,
            "test_size": 2,
            "seed": 3,
        },
        {"seed": (0,)},
    ),
    "chord": Row(tone_words.chord, {"letter": "a"}),
    "wav.read": Row(
        wav.read, {"data": b"", "name": "a", "rate": 8000, "resample": True}, {"name": ("x",)}
    ),
    "resampled": Row(wav.resampled, {"samples": np.zeros(9, np.float32), "own": 8, "rate": 4}),
    "wav.write": Row(wav.write, {"samples": np.zeros(9, np.float32), "rate": 8}),
}
NOWHERE = {"path": "none.tsv", "reading": Reading(fields="a,b"), "argument": "data"}
TEXT = dict.fromkeys(("path", "argument", "source", "target", "text", "paths", "name"), ("x",))
NEWS = Found([("a", "b")], [1], "x")
TEXTS = {
    "read": Row(files.read, NOWHERE | {"other": "tsv"}, TEXT | {"other": (None,)}),
    "read_split": Row(
        files.read_split, {"paths": "none.tsv", "reading": Reading(), "argument": "data"}, TEXT
    ),
    "check_used": Row(files.check_used, {"reading": Reading(), "paths": ["a.tsv"]}),
    "format_of": Row(files.format_of, {"path": "a"}, TEXT),
    "read_tsv": Row(delimited.read_tsv, NOWHERE, TEXT),
    "read_csv": Row(delimited.read_csv, NOWHERE, TEXT),
    "read_jsonl": Row(jsonl.read_jsonl, NOWHERE, TEXT),
    "read_tmx": Row(tmx.read_tmx, NOWHERE, TEXT),
    "read_moses": Row(two_files.read_moses, NOWHERE, TEXT),
    "read_two": Row(
        two_files.read_two, {"source": "none", "target": "none", "arguments": ("a", "b")}, TEXT
    ),
    "keep": Row(filters.keep, {"found": NEWS, "filters": filters.Filters(), "lowercase": False}),
    "read_column": Row(
        text_columns.read_column,
        {"path": "a.csv", "field": "a", "format": "csv", "delimiter": ",", "argument": "data"},
        TEXT | {"field": ("x",), "format": (None,), "delimiter": ("x",)},
        {"field": "fields"},
    ),
    "read_lines": Row(text_files.read_lines, {"path": "none", "argument": "data"}, TEXT),
    "read_text": Row(text_files.read_text, {"path": "none", "argument": "data"}, TEXT),
    "unicode_form": Row(text_files.unicode_form, {"text": "a", "form": "nfc"}, TEXT),
    "unused": Row(
        folders.unused,
        {"root": Path("none"), "used": [], "beside": []},
        {"root": ("x",), "beside": ("x",)},
    ),
    "in_words": Row(folders.in_words, {"counts": {"a": 1}}),
    "Tokenizer.from_file": Row(
        data.Tokenizer.from_file,
        {
            "path": "none",
            "special_tokens": (),
            "lowercase": False,
            "unicode": "none",
            "argument": "path",
        },
        TEXT,
    ),
    "Tokenizer": Row(data.Tokenizer, {"pieces": TOKENIZER._pieces}),
    "Tokenizer.encode_batch": Row(TOKENIZER.encode_batch, {"texts": ["a"]}),
    "Tokenizer.tokens": Row(TOKENIZER.tokens, {"ids": [5]}),
    "Tokenizer.unknown": Row(TOKENIZER.unknown, {"text": "a"}, TEXT),
    "Tokenizer.save": Row(TOKENIZER.save, {"path": Path("none")}, {"path": ("x", "none")}),
    "pad": Row(batching.pad, {"pairs": [([5], [6])], "rows": 2, "length": 8}),
    "images.load": Row(
        datasets.load,
        {
            "data": "none",
            "data_dir": "none",
            "classes": 2,
            "image_size": 8,
            "skip_bad": False,
            "ground": "white",
        },
        {"data": ("x",), "data_dir": ("x",), "classes": (None,), "image_size": (None,)},
    ),
}
SIZES = {"train_size": 2, "validation_size": 2, "test_size": 2, "seed": 3}
SEED = {"seed": (0, -1)}
TASKS = {
    "addition": Row(addition.addition, {"digits": 2, "longer_digits": 3} | SIZES, SEED),
    "dates": Row(dates.dates, {"max_length": 24} | SIZES, SEED),
    "numbers": Row(numbers.numbers, {"digits": 2, "longer_digits": 3} | SIZES, SEED),
    "lists": Row(
        lambda **given: lists.copy(lists.ListConfig(**given)),
        {"vocabulary": 5, "max_length": 3, "longer_length": 5} | SIZES,
        SEED,
    ),
    "reverse": Row(lists.reverse, {"config": lists.ListConfig()}),
    "spanish": Row(spanish.spanish, {"max_words": 6, "longer_words": 8} | SIZES, SEED),
    "scan": Row(
        scan.scan,
        {"split": "simple", "data_dir": "none", "validation_percent": 5, "seed": 3},
        SEED | {"data_dir": ("x",)},
    ),
    "parallel": Row(
        lambda **given: parallel.parallel(parallel.ParallelConfig(pairs="none.tsv", **given)),
        {
            "held_out_percent": 5,
            "skip_empty": False,
            "drop_duplicates": False,
            "shortest": 1,
            "longest": 5,
            "length_ratio": 1.5,
            "length_unit": "words",
            "lowercase": False,
            "unicode": "nfc",
            "seed": 3,
            "delimiter": ",",
            "columns": "1,2",
        },
        SEED | {"shortest": (0,), "longest": (0,), "length_ratio": (2.5,)},
    ),
    "parallel of files": Row(
        lambda **given: parallel.parallel(parallel.ParallelConfig(**given)),
        {"pairs": "none.tsv", "validation": "none", "test": "none"},
        dict.fromkeys(("pairs", "validation", "test"), ("x", None)),
    ),
    "parallel of a preset": Row(
        lambda **given: parallel.parallel(parallel.ParallelConfig(**given)),
        {"preset": "tatoeba_en_es", "data_dir": "none"},
        {"data_dir": ("x",), "preset": (None,)},
    ),
}
ROWS = AUDIO | TEXTS | TASKS


@pytest.mark.parametrize("name", ROWS)
def test_one_line_names_the_argument(name, users_errors):
    assert_each_is_named(ROWS[name])


@pytest.mark.parametrize("name", [name for name in ROWS if "of" not in name.split()])
def test_an_argument_that_there_is_not_is_named(name, users_errors):
    assert_one_too_many_is_named(ROWS[name])


def test_what_does_not_fit_a_batch_is_named(users_errors):
    with pytest.raises(ValueError, match="`rows` and `length`.*rows=2 and length=2.*up to 3"):
        batching.pad([([5, 6], [7])], rows=2, length=2)
    with pytest.raises(ValueError, match="`items` must hold from 1 to rows=1"):
        batches.Collate(SETTINGS)(ITEMS * 2, rows=1, length=8)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([0.0], r"an array \[n\] of numbers.*got \[0.0\]"),
        (np.zeros((2, 2)), r"an array \[n\].*float64\[2, 2\]"),
        (np.zeros(3, bool), r"an array \[n\] of numbers.*bool\[3\]"),
    ],
)
def test_an_array_of_other_axes_or_numbers_is_named(value, words, users_errors):
    with pytest.raises(ValueError, match=f"`samples` must be {words}"):
        wav.write(value, rate=8)


def test_items_of_a_sequence_are_looked_at(users_errors):
    with pytest.raises(ValueError, match="`texts` must be a sequence of texts"):
        TOKENIZER.encode_batch([1, 2])
    with pytest.raises(ValueError, match="`utterances` must be a sequence"):
        batches.make(["a"], TOKENIZER, SETTINGS, frames_per_batch=9)


def test_there_are_many():
    assert sum(1 for row in ROWS.values() for _ in wrong(row)) >= 800
