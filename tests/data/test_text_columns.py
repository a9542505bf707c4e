"""Columns of text against the same rows as the standard library writes them."""

import csv
import gzip
import json

import pytest

from attention_jax.data.text_columns import read_column

TEXTS = ['She said "no", twice', "two\nlines\n", "", "ni\u00f1o; \u65e5", "  ", "end"]
KEPT = [text for text in TEXTS if text.strip()]


def as_csv(path, *, header=("id", "te\u0303xt"), **options):
    with open(path, "w", newline="", encoding="utf-8") as file:
        own = csv.writer(file, lineterminator="\n", **options)
        own.writerows([header] if header else [])
        own.writerows([str(i), text] for i, text in enumerate(TEXTS))
    return path


def as_jsonl(path):
    rows = [{"id": i, "te\u0303xt": text or None} for i, text in enumerate(TEXTS)]
    path.write_text("".join(f"{json.dumps(row)}\n\n" for row in rows))
    return path


def test_a_column_is_read_as_it_is_written(tmp_path):
    for file in (as_csv(tmp_path / "a.csv"), as_jsonl(tmp_path / "a.jsonl")):
        assert read_column(file, "te\u0303xt") == read_column(file, "t\u1ebdxt") == KEPT
        packed = file.with_name(f"{file.name}.gz")
        packed.write_bytes(gzip.compress(file.read_bytes()))
        assert read_column(packed, "te\u0303xt") == KEPT
        other = file.rename(tmp_path / f"{file.name}.data")
        assert read_column(other, "te\u0303xt", format=file.suffix[1:]) == KEPT
    headless = as_csv(tmp_path / "b.csv", header=None, delimiter=";")
    assert read_column(headless, "2", delimiter=";") == KEPT


@pytest.mark.parametrize(
    ("name", "field", "options", "message"),
    [
        ("a.csv", "body", {}, "`fields` must be among the names on line 1 of .*; got body; it has"),
        ("a.csv", "3", {}, "`fields` must be columns from 1 to 2, .*; got 3"),
        ("a.csv", "id,x", {}, "`fields` must name one column of text in .*; got 'id,x'"),
        ("a.csv", " ", {}, "must name one column"),
        ("a.csv", "id", {"delimiter": ""}, "`delimiter` must be one character"),
        ("a.jsonl", "body", {}, "line 1 of .* has no body; it has id"),
        ("a.jsonl", "id", {}, "line 1 of .* has int under id"),
        ("a.txt", "id", {}, r"tells its format \(.csv, .*; got .*a.txt. Say it by `format`"),
        ("a.txt", "id", {"format": "tsv"}, "`format` must be one of"),
        ("none.csv", "id", {}, "does not exist"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, name, field, options, message):
    as_csv(tmp_path / "a.csv"), as_jsonl(tmp_path / "a.jsonl"), as_csv(tmp_path / "a.txt")
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        read_column(tmp_path / name, field, **options)
    assert "\n" not in str(error.value)


def test_a_column_without_text_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("id,text\n1,\n2,  \n")
    with pytest.raises(ValueError, match="must hold text; the column text of .* has none"):
        read_column(tmp_path / "a.csv", "text")
