"""Each format against the same pairs written by another library, and what is refused."""

import csv
import gzip
import json
import re
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from attention_jax.data.pairs.files import format_of, read, read_split
from attention_jax.data.pairs.types import Reading

# As sentences stand in a file, and as they are read: a line break is a space.
WRITTEN = [
    ('She said "no", twice', "Sie sagte „nein“, zweimal"),
    ("a, b; c", "x\ty"),
    ("two\nlines", "zwei\r\nZeilen"),
    ('"', "''"),
    ("¿qué?\u2028sí", "日本語"),
    ("back\\slash \\n", "1,2"),
]
PAIRS = [tuple(re.sub(r"[\r\n]+", " ", side) for side in pair) for pair in WRITTEN]
EN_DE = Reading(fields="en,de")


def as_csv(path, rows, **options):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, **options).writerows(rows)
    return path


def refused(match, path, reading=EN_DE, error=ValueError):
    with pytest.raises(error, match=match) as caught:
        read(path, reading, argument="pairs")
    assert "\n" not in str(caught.value)


def pairs(path, reading=EN_DE):
    return [tuple(pair) for pair in read(path, reading, argument="pairs").pairs]


@pytest.mark.parametrize("options", [{}, {"lineterminator": "\n"}, {"quoting": csv.QUOTE_ALL}])
def test_csv_is_read_as_the_standard_library_writes_it(tmp_path, options):
    rows = [("id", "de", "en"), *((n, y, x) for n, (x, y) in enumerate(WRITTEN))]
    path = as_csv(tmp_path / "a.csv", rows, **options)
    assert pairs(path) == PAIRS
    marked = tmp_path / "marked.csv.gz"
    marked.write_bytes(gzip.compress(b"\xef\xbb\xbf" + path.read_bytes()))
    assert pairs(marked) == PAIRS


def test_csv_may_have_no_header_and_another_delimiter(tmp_path):
    path = as_csv(tmp_path / "a.csv", [(y, n, x) for n, (x, y) in enumerate(WRITTEN)])
    assert pairs(path, Reading(fields="3,1")) == PAIRS
    path = as_csv(tmp_path / "b.csv", [("1", "2"), *WRITTEN], delimiter=";")
    assert pairs(path, Reading(fields="1,2", delimiter=";")) == PAIRS  # names, as the header has
    path = as_csv(tmp_path / "c.csv", [("en", "de"), *WRITTEN], delimiter="\t")
    assert pairs(path, EN_DE._replace(delimiter="\t")) == PAIRS


def test_places_of_csv_are_first_lines_of_rows(tmp_path):
    path = as_csv(tmp_path / "a.csv", [("en", "de"), *WRITTEN])
    assert list(read(path, EN_DE, argument="pairs").places) == [2, 3, 4, 7, 8, 9]


@pytest.mark.parametrize(
    ("text", "reading", "message"),
    [
        ("en,de\na,b\n", Reading(), "columns of source and target in .*got none.*--fields=en,de;"),
        ("en,de\na,b\n", Reading(fields="en"), "`fields` must name the columns .*got 'en'"),
        ("en,de\na,b\n", Reading(fields="en,en"), "got 'en,en'"),
        ("en,fr\na,b\n", EN_DE, "names on line 1 of .*x.csv; got de; it has en, fr"),
        ("en;de\na;b\n", EN_DE, "split at ',', which `delimiter` changes"),
        ("en,de,de\na,b,c\n", EN_DE, "one column each; line 1 of .* has 2 called de"),
        ("a,b\n", Reading(fields="1,3"), "columns from 1 to 2, .*got 1,3"),
        ("en,de\na,b\nc\n", EN_DE, "same number of columns in every row; .*has 2, but 1 on line 3"),
        ('en,de\n"a\nb",c\n"d,e\n', EN_DE, r"row that begins on line 4 of .*end of data"),
        ('en,de\n"a"b,c\n', EN_DE, "begins on line 2 of .*expected after"),
        ("en,de\na\rb,c\n", EN_DE, "begins on line 2 of"),
        ("en,de\na,b\0\n", EN_DE, "line 2 of .* holds a NUL"),
        ("en,de\na,b\n", EN_DE._replace(delimiter=",,"), "`delimiter` must be one character"),
        ("", EN_DE, "names on line 1 of .*; got en"),
    ],
)
def test_bad_csv_is_refused_with_its_line(tmp_path, text, reading, message):
    path = tmp_path / "x.csv"
    path.write_text(text, newline="")
    refused(message, path, reading)


def test_a_field_that_swallows_the_file_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('en,de\na,b\n"c,d\n' + "e,f\n" * 40_000)
    refused("begins on line 3 of .*field larger than field limit", path)


@pytest.mark.parametrize("is_nested", [True, False])
@pytest.mark.parametrize("is_ascii", [True, False])
def test_json_lines_are_read_as_the_standard_library_writes_them(tmp_path, is_nested, is_ascii):
    rows = [{"de": y, "en": x, "fr": None} for x, y in WRITTEN]
    if is_nested:
        rows = [{"id": n, "translation": row} for n, row in enumerate(rows)]
    text = "\r\n".join(json.dumps(row, ensure_ascii=is_ascii) for row in rows)
    path = tmp_path / "a.jsonl"
    path.write_text(text, encoding="utf-8-sig", newline="")
    assert pairs(path) == PAIRS
    named = Reading(format="jsonl", fields="en,de")
    assert pairs(path.rename(tmp_path / "a.txt"), named) == PAIRS


def test_empty_lines_and_null_are_empty_sentences(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text('{"en": null, "de": "b"}\n\n{"en": "c", "de": "d"}\n')
    assert pairs(path) == [("", "b"), ("", ""), ("c", "d")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"en": "a", "de": "b', "line 2 of .*x.jsonl is not JSON .Unterminated string.*cut"),
        ("[" * 100_000, "line 2 of .* is not JSON .too deeply nested"),
        ('["a", "b"]', "line 2 of .* holds list. Write it as"),
        ('{"en": "a", "fr": "b"}', "line 2 of .* has no de; it has en, fr"),
        ('{"en": "a", "de": 3}', "line 2 of .* has int under de"),
        ('{"en": "a", "de": "\\ud83d"}', "line 2 of .* half of a surrogate pair"),
        ('{"en": "a", "de": "\\u0000"}', "line 2 of .* holds .u0000"),
        ('{"translation": "a"}', "line 2 of .* has no en; it has translation"),
        ("9" * 5000, "line 2 of .* is not JSON|holds int"),
    ],
)
def test_bad_json_is_refused_with_its_line(tmp_path, line, message):
    path = tmp_path / "x.jsonl"
    path.write_text('{"en": "a", "de": "b"}\n' + line + "\n")
    refused(message, path)


def test_keys_must_be_named(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"src": "a", "tgt": "b"}\n')
    refused(
        "keys of source and target in .*; got none.*--fields=src,tgt; it has src", path, Reading()
    )


def test_names_are_alike_in_every_normal_form(tmp_path):
    reading = Reading(fields="espan\u0303ol,en")
    path = as_csv(tmp_path / "a.csv", [("en", "espa\u00f1ol"), ("a", "b")])
    assert pairs(path, reading) == [("b", "a")]
    lines = tmp_path / "a.jsonl"
    lines.write_text(json.dumps({"espa\u00f1ol": "b", "en": "a"}))
    assert pairs(lines, reading) == [("b", "a")]


def moses(folder, name="corpus", **languages):
    for language, lines in languages.items():
        text = "".join(f"{line}\n" for line in lines)
        (folder / f"{name}.{language}").write_text(text, encoding="utf-8")
    return folder / name


def test_two_files_with_one_name_are_aligned(tmp_path):
    lines = [[pair[side] for pair in PAIRS] for side in (0, 1)]
    path = moses(tmp_path, "corpus.clean", en=lines[0], de=lines[1], fr=["x"])
    assert format_of(path) == "moses" and pairs(path) == PAIRS
    packed = Path(f"{path}.de")
    Path(f"{packed}.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    assert pairs(path) == PAIRS


def test_files_of_unequal_lengths_are_refused_with_both_counts(tmp_path):
    path = moses(tmp_path, en=["a", "b", "c"], de=["x", "y"])
    refused(r"got 3 in .*corpus\.en and 2 in .*corpus\.de", path)
    refused(
        r"corpus\.fr does not exist. .*there are: de, en", path, Reading(fields="en,fr"), OSError
    )
    refused(r"got none.*--fields=de,en; it has de, en", path, Reading())


HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
LANGUAGE = "xml:lang"


def tmx(path, units, *, head=HEAD):
    """Units as mappings of language to sentences, written by hand: one on each line from line 3."""
    body = (
        "<tu>"
        + "".join(f'<tuv {LANGUAGE}="{x}"><seg>{text}</seg></tuv>' for x, text in unit)
        + "</tu>\n"
        for unit in units
    )
    text = f'{head}<tmx version="1.4"><header/><body>\n{"".join(body)}</body></tmx>'
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("head", [HEAD, "\ufeff" + HEAD, '<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n'])
def test_tmx_is_read_as_it_is_written(tmp_path, head):
    units = [[("DE", escape(y)), ("fr", "x"), ("en-GB", escape(x))] for x, y in WRITTEN]
    path = tmx(tmp_path / "a.tmx", units, head=head)
    assert pairs(path) == PAIRS
    (tmp_path / "a.tmx.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert pairs(tmp_path / "a.tmx.gz") == PAIRS


def test_units_of_one_language_are_counted_and_variants_paired(tmp_path):
    units = [
        [("en", "a"), ("de", "b")],
        [("en", "alone")],
        [("en-US", "color"), ("en-GB", "colour"), ("de-AT", "Farbe")],
        [("eng", "c"), ("de", "")],
    ]
    found = read(tmx(tmp_path / "a.tmx", units), EN_DE, argument="pairs")
    assert found.pairs == [("a", "b"), ("color", "Farbe"), ("colour", "Farbe")]
    assert (found.incomplete, found.places) == (2, [3, 5, 5])


def test_codes_inside_sentences_are_left_out(tmp_path):
    inside = 'a <bpt i="1">&lt;b></bpt>bold<ept i="1">&lt;/b></ept> <hi>and<ph/> high</hi> end'
    path = tmx(tmp_path / "a.tmx", [[("en", inside), ("de", "<![CDATA[<x> & y]]>")]])
    assert pairs(path) == [("a bold and high end", "<x> & y")]


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 30))


@pytest.mark.parametrize(
    ("head", "inside", "message"),
    [
        (f'<!DOCTYPE tmx [<!ENTITY l0 "ha">{LAUGHS}]>\n', "&l29;", "line 1 of .* declarations of"),
        (
            '\n<!DOCTYPE tmx [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
            "&x;",
            "line 2 of .* declar",
        ),
        (
            '<!DOCTYPE tmx SYSTEM "x.dtd" [<!ENTITY % p SYSTEM "y"> %p;]>',
            "a",
            "has declarations of",
        ),
        ('<!DOCTYPE tmx SYSTEM "x.dtd">\n', "&x;", "line 3 of .* an entity of its own, &x;"),
        (HEAD, "&x;", "line 3 of .*a.tmx is not .undefined entity"),
        (HEAD, "a</tu>", "line 3 of .* is not .mismatched tag"),
        (HEAD, "a\x01", "line 3 of .* is not .not well-formed"),
        (HEAD, "<hi>" * 101 + "</hi>" * 101, "line 3 of .* over 100 elements"),
    ],
)
def test_hostile_and_damaged_tmx_is_refused(tmp_path, head, inside, message):
    refused(message, tmx(tmp_path / "a.tmx", [[("en", inside), ("de", "b")]], head=head))


def test_tmx_of_other_contents_is_refused(tmp_path):
    path = tmx(tmp_path / "a.tmx", [[("en", "a"), ("fr-CA", "b")]])
    refused("languages of the units in .*; got de; it has en, fr-ca", path)
    refused("languages of source and target in .*--fields=en,fr-ca", path, Reading())
    refused("translation units, elements <tu>; .* has none", tmx(path, []))
    cut = path.read_text()[:-20]
    path.write_text(cut)
    refused("line 2 of .* is not .*if it is cut", path)
    path.write_text("<tmx/>", encoding="utf-16")
    refused("must be UTF-8 text; line 1 of .*UTF-16", path)


def test_formats_are_told_by_names():
    told = {"a.tsv": "tsv", "a.CSV": "csv", "b/a.jsonl.gz": "jsonl", "z.zip/a.csv": "csv"}
    assert {name: format_of(name) for name in told} == told
    assert format_of("a.txt") is None and format_of("none/corpus") is None


def test_unknown_formats_are_refused(tmp_path):
    refused(r"name that tells its format \(\.tsv, .*; got .*a.txt. Say it by", tmp_path / "a.txt")
    refused("`format` must be one of 'tsv'", tmp_path / "a", Reading(format="xls"))
    refused("does not exist", tmp_path / "a.csv", error=FileNotFoundError)


def test_splits_may_be_in_any_format(tmp_path):
    path = as_csv(tmp_path / "va,l.csv", [("en", "de"), ("a", "b")])
    assert list(read_split(str(path), EN_DE, argument="test").pairs) == [("a", "b")]
    (tmp_path / "plain").write_text("a\tb\n")
    assert list(read_split(str(tmp_path / "plain"), EN_DE, argument="test").pairs) == [("a", "b")]
