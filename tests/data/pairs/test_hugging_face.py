"""Data sets of Hugging Face on disk, against the same pairs as its library writes them."""

import json
import re
import sys

import pytest

from attention_jax.core import extras
from attention_jax.data import tasks
from attention_jax.data.pairs.files import format_of, read
from attention_jax.data.pairs.types import Reading

WRITTEN = [
    {"id": i, "en": f"house {i}", "de": f"Haus\n{i}", "ni\u0303": "ß" * (i % 9)}
    for i in range(1200)
]
PAIRS = [(row["en"], row["de"].replace("\n", " ")) for row in WRITTEN]
EN_DE = Reading(fields="en,de")


def nested(rows):
    return [
        {"id": str(i), "translation": {"de": x["de"], "en": x["en"]}} for i, x in enumerate(rows)
    ]


def as_parquet(path, rows):
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra datasets")
    from pyarrow import parquet

    path.parent.mkdir(exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=700)
    return path


def as_dataset(rows, features=None):
    """A data set in memory; its name is given, as the library reads all of it to make one."""
    datasets = pytest.importorskip("datasets", reason="needs the extra datasets")
    import pyarrow

    schema = None if features is None else features.arrow_schema
    table = datasets.table.InMemoryTable(pyarrow.Table.from_pylist(rows, schema=schema))
    datasets.disable_progress_bars()
    return datasets, datasets.Dataset(table, fingerprint="own")


def found(path, reading=EN_DE):
    return list(read(path, reading, argument="pairs").pairs)


def refused(match, path, reading=EN_DE, error=ValueError):
    with pytest.raises(error, match=match) as caught:
        read(path, reading, argument="pairs")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [list, nested])
def test_parquet_is_read_as_it_is_written(tmp_path, shape):
    folder = tmp_path / "data"
    path = as_parquet(folder / "train-00000-of-00002.parquet", shape(WRITTEN[:900]))
    assert format_of(path) == format_of(folder) == "datasets"
    assert found(path) == PAIRS[:900]
    as_parquet(folder / "train-00001-of-00002.parquet", shape(WRITTEN[900:]))
    assert found(folder) == PAIRS
    assert found(folder, Reading(fields="de,en")) == [pair[::-1] for pair in PAIRS]
    as_parquet(folder / "test-00000-of-00001.parquet", shape(WRITTEN[:9]))
    refused(r"one split; .* holds several. Name one of \S*data/test-\*\.parquet, \S*data/t", folder)
    assert found(folder / "train-*.parquet") == PAIRS


def test_names_are_alike_in_every_normal_form(tmp_path):
    path = as_parquet(tmp_path / "x.parquet", WRITTEN[1:3])
    assert found(path, Reading(fields="en,n\u0129")) == [("house 1", "ß"), ("house 2", "ßß")]


@pytest.mark.parametrize(
    ("rows", "fields", "message"),
    [
        (WRITTEN[:1], "en,fr", r"among the columns of .*; got fr; it has id, en, de"),
        (nested(WRITTEN[:1]), "en,fr", r"its column translation; got fr; it has de, en"),
        (WRITTEN[:1], None, r"must name the columns of source and target .*; got none"),
        (WRITTEN[:1], "id,en", r"row 1 of \S+x.parquet has int under id"),
        ([{"en": "a\0b", "de": "c"}], "en,de", r"row 1 of .* holds \\u0000"),
    ],
)
def test_what_is_no_column_of_text_is_refused(tmp_path, rows, fields, message):
    refused(message, as_parquet(tmp_path / "x.parquet", rows), Reading(fields=fields))


def test_null_is_an_empty_sentence(tmp_path):
    rows = [{"en": None, "de": "c"}, {"en": "a", "de": None}]
    assert found(as_parquet(tmp_path / "x.parquet", rows)) == [("", "c"), ("a", "")]
    rows = [{"translation": None}, {"translation": {"en": "a", "de": "b"}}]
    assert found(as_parquet(tmp_path / "y.parquet", rows)) == [("", ""), ("a", "b")]


def test_damaged_and_missing_files_are_refused(tmp_path):
    path = as_parquet(tmp_path / "x.parquet", WRITTEN[:9])
    path.write_bytes(path.read_bytes()[:-20])
    refused(r"x\.parquet is damaged, or no data set \(", path)
    refused("none.parquet is none, or does not exist", tmp_path / "none.parquet", EN_DE, OSError)
    as_parquet(tmp_path / "data" / "train-0.parquet", WRITTEN[:9])
    as_parquet(tmp_path / "data" / "train-1.parquet", [{"en": "a"}])
    refused(r"same columns in every file; .*train-1.parquet has no de", tmp_path / "data")
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    refused(rf"holds several. Name one of {odd}/train, {odd}/test, and the others by", odd)


def test_a_missing_package_is_named_with_its_command(tmp_path, monkeypatch):
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    (tmp_path / "state.json").write_text("{}")
    for name in ("pyarrow", "datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    for path, name in ((tmp_path / "x.parquet", "pyarrow"), (tmp_path, "datasets")):
        said = re.escape(extras.message(name, "datasets"))
        refused(said, path, EN_DE, ModuleNotFoundError)


def test_a_task_is_made_of_data_sets(tmp_path):
    path = as_parquet(tmp_path / "x.parquet", WRITTEN[:300])
    as_parquet(tmp_path / "data" / "test.parquet", nested(WRITTEN[290:310]))
    given = {"pairs": str(path), "fields": "en,de", "test": str(tmp_path / "data")}
    task = tasks.get("parallel", **given)
    assert [example.source for example in task.tests["test"]] == [x for x, _ in PAIRS[290:310]]
    sources = {e.source for e in (*task.train, *task.validation)}
    assert sources == {x for x, _ in PAIRS[:290]}


@pytest.mark.slow
@pytest.mark.parametrize("shape", [list, nested])
def test_saved_folders_are_read_as_the_library_writes_them(tmp_path, shape):
    path = tmp_path / "saved"
    as_dataset(shape(WRITTEN))[1].save_to_disk(path, num_shards=2)
    assert format_of(path) == "datasets" and found(path) == PAIRS
    refused(r"got fr; it has", path, Reading(fields="en,fr"))
    for file in path.glob("*.arrow"):
        file.write_bytes(file.read_bytes()[:100])
    refused(r"saved is damaged, or no data set \(", path)


@pytest.mark.slow
def test_languages_of_a_translation_and_splits_of_a_dictionary(tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs the extra datasets")
    languages = datasets.Translation(["de", "en"])
    features = datasets.Features({"id": datasets.Value("string"), "translation": languages})
    _, own = as_dataset(nested(WRITTEN[:50]), features)
    datasets.DatasetDict({"train": own, "test": own}).save_to_disk(tmp_path / "both")
    assert found(tmp_path / "both" / "train") == PAIRS[:50]
    refused(r"Name one of \S+both/train, \S+both/test", tmp_path / "both")
