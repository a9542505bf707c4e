"""Real text: what is read, how it is split, and what is refused."""

import gzip
import hashlib
import itertools
import json
import re
import unicodedata

import pytest

from attention_jax.data import tasks
from attention_jax.data.tasks import parallel as corpus
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import Example
from tests.support.paths import DATA

multi30k = pytest.mark.skipif(
    not (DATA / "multi30k" / "raw").is_dir(), reason=f"needs multi30k/raw under DATA_DIR={DATA}"
)
tatoeba = pytest.mark.skipif(
    not (DATA / "tatoeba_en_es").is_dir(), reason=f"needs tatoeba_en_es under DATA_DIR={DATA}"
)


def parallel(**options):
    return corpus.parallel(corpus.ParallelConfig(**options))


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


@pytest.fixture
def files(tmp_path):
    """Two aligned files of 300 lines."""
    return {
        "source": write(tmp_path / "a.en", [f"sentence {i}" for i in range(300)]),
        "target": write(tmp_path / "a.es", [f"frase {i}" for i in range(300)]),
    }


def numbers(split):
    return {int(example.source.split()[-1]) for example in split}


def test_lines_of_two_files_are_pairs(files):
    task = parallel(**files)
    for example in itertools.chain(task.train, task.validation, task.tests["test"]):
        assert example.references == (f"frase {example.source.split()[-1]}",)
    split = [numbers(task.train), numbers(task.validation), numbers(task.tests["test"])]
    assert set.union(*split) == set(range(300))
    assert (task.tokenizer, task.lowercase, list(task.tests)) == ("bpe", False, ["test"])


def test_the_hash_of_the_source_chooses_the_split(files):
    task = parallel(**files, held_out_percent=7)
    for split, low, high in (
        (task.tests["test"], 0, 7),
        (task.validation, 7, 14),
        (task.train, 14, 100),
    ):
        for example in split:
            digest = hashlib.sha256(example.source.encode("utf-8")).digest()
            assert low <= int.from_bytes(digest[:4], "big") % 100 < high


def test_a_tsv_file_is_the_same_text(files, tmp_path):
    rows = [f"frase {i}\tsentence {i}\tsomeone" for i in range(300)]
    assert parallel(tsv=write(tmp_path / "a.tsv", rows), columns="2,1") == parallel(**files)
    packed = tmp_path / "a.tsv.gz"
    packed.write_bytes(gzip.compress("\n".join(rows).encode()))
    assert parallel(tsv=str(packed), columns="2,1") == parallel(**files)


def test_given_splits_are_kept_apart(files, tmp_path):
    validation = write(tmp_path / "v.tsv", ["sentence 1\tx", "sentence 2\ty", "other\tz"])
    tests = f"{write(tmp_path / 't.en', ['sentence 2', 'new'])},{write(tmp_path / 't.es', 'ab')}"
    task = parallel(**files, validation=validation, test=tests)
    assert task.tests["test"] == [Example("sentence 2", ("a",)), Example("new", ("b",))]
    assert task.validation == [Example("sentence 1", ("x",)), Example("other", ("z",))]
    assert numbers(task.train) == set(range(300)) - {1, 2}


def test_what_is_not_given_is_held_out(files, tmp_path):
    given = write(tmp_path / "t.tsv", ["new\tnuevo"])
    task = parallel(**files, test=given)
    assert task.tests["test"] == [Example("new", ("nuevo",))]
    assert 5 < len(task.validation) < 30
    assert len(task.train) + len(task.validation) == 300
    assert numbers(parallel(**files, validation=given).tests["test"]) == numbers(task.validation)


def test_all_translations_of_a_held_out_sentence_are_references(tmp_path):
    rows = [f"s {i // 3}\tt {i % 2 if i % 3 else 9}" for i in range(900)]
    task = parallel(tsv=write(tmp_path / "a.tsv", rows))
    assert all(example.references[0] == "t 9" for example in task.tests["test"])
    assert all(
        example.references in (("t 9", "t 0", "t 1"), ("t 9", "t 1", "t 0"))
        for example in (*task.validation, *task.tests["test"])
    )
    assert all(len(example.references) == 1 for example in task.train)
    assert len(task.train) == 900 - 3 * len(task.validation) - 3 * len(task.tests["test"])


def test_lower_casing_counts_sentences_as_the_same(tmp_path):
    rows = [f"{word} {i}\tx" for i in range(200) for word in ("Word", "WORD", "word")]
    path = write(tmp_path / "a.tsv", rows)
    lower = parallel(tsv=path, lowercase=True)
    assert lower.lowercase
    assert not numbers(lower.train) & numbers(lower.tests["test"])
    assert numbers(parallel(tsv=path).train) & numbers(parallel(tsv=path).tests["test"])


def test_spaces_are_tidied(tmp_path):
    rows = [f" a  b {i} \tc  d {i}" for i in range(200)]
    task = parallel(tsv=write(tmp_path / "a.tsv", rows))
    assert all(re.fullmatch(r"a b \d+", example.source) for example in task.train)


def test_the_seed_salts_the_split(files):
    assert parallel(**files, seed=3) == parallel(**files, seed=3)
    assert numbers(parallel(**files, seed=3).train) != numbers(parallel(**files).train)


def refused(match, error=ValueError, **options):
    with pytest.raises(error, match=match) as caught:
        parallel(**options)
    assert "\n" not in str(caught.value)


def test_files_must_be_named(files):
    refused("must say which text to learn from; got source=None, target=None, tsv=None")
    refused("must say which text", source=files["source"])
    refused("must say which text", tsv=files["source"], **files)
    refused("brings its own files", preset="tatoeba_en_es", **files)
    refused("brings its own files", preset="tatoeba_en_es", held_out_percent=9)
    refused("`test` must be a file of pairs or", **files, test="a,b,c")


def test_files_must_exist(files, tmp_path):
    files["target"] = str(tmp_path / "none")
    refused(r"`target` must name a file; .*none does not exist", FileNotFoundError, **files)


def test_files_must_align(files, tmp_path):
    files["target"] = write(tmp_path / "short", ["x"] * 299)
    refused(r"got 300 in .*a\.en and 299 in .*short", **files)


def test_empty_sentences_are_placed(files, tmp_path):
    lines = [f"frase {i}" for i in range(300)]
    lines[6] = lines[9] = " "
    files["target"] = write(tmp_path / "holes", lines)
    refused(r"holes has an empty one on lines 7, 10\. Set `skip_empty`", **files)
    task = parallel(**files, skip_empty=True)
    kept = numbers(task.train) | numbers(task.validation) | numbers(task.tests["test"])
    assert kept == set(range(300)) - {6, 9}


def test_columns_must_be_regular(tmp_path):
    refused("a column 2.*; got 1 column in", tsv=write(tmp_path / "one", ["a", "b"]))
    path = write(tmp_path / "odd", ["a\tb", "c", "", "d\te", "f\tg\th"])
    refused(r"odd has 3, but 2 on lines 1, 2, 4\. Look", tsv=path)
    refused("a column 4", tsv=path, columns="1,4")
    for columns in ("1", "1,1", "0,1", "a,b"):
        refused(
            f"`columns` must be two different numbers .*got '{columns}'", tsv=path, columns=columns
        )


def test_splits_must_not_be_empty(tmp_path):
    few = write(tmp_path / "few", ["a\tb", "c\td"])
    refused("5 % of 2 pairs left none for", tsv=few)
    refused("every training or validation sentence", tsv=few, validation=few, test=few)
    refused("at least one sentence pair", tsv=write(tmp_path / "none", ["\t"]), skip_empty=True)
    refused("between 1 and 45; got 46", tsv=few, held_out_percent=46)


def test_presets_are_known(tmp_path):
    for preset in ("multi30k_de_de", "multi30k_de_cs", "wmt"):
        refused(f"must be multi30k_XX_YY .*; got '{preset}'", preset=preset)
    refused("`data_dir` must name the folder that holds multi30k/", preset="multi30k_de_en")
    for preset, origin in (("multi30k_fr_de", "multi30k/dataset"), ("tatoeba_en_es", "anki")):
        refused(
            f"does not exist.*Preset '{preset}' reads it.*{origin}",
            FileNotFoundError,
            preset=preset,
            data_dir=str(tmp_path),
        )


@tatoeba
@pytest.mark.slow
def test_tatoeba_splits_by_english_sentence():
    task = parallel(preset="tatoeba_en_es", data_dir=str(DATA))
    test = task.tests["test"]
    assert (len(task.train), len(task.validation), len(test)) == (107_165, 5154, 5089)
    assert len({example.source for example in task.train}) == 92_661
    assert sum(len(example.references) for example in task.validation) == 5962
    assert sum(len(example.references) for example in test) == 5837
    held_out = {example.source for example in (*task.validation, *test)}
    assert not held_out & {example.source for example in task.train}


@pytest.mark.slow
@multi30k
@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(pair, marks=() if pair == ("de", "en") else pytest.mark.slow)
        for pair in itertools.permutations(("de", "en", "fr"), 2)
    ],
)
def test_multi30k_in_every_direction(pair):
    task = parallel(preset="multi30k_{}_{}".format(*pair), data_dir=str(DATA))
    splits = [task.train, task.validation, task.tests["test"]]
    sources = [{example.source.lower() for example in split} for split in splits]
    assert sum(map(len, sources)) == len(set.union(*sources))
    # One or two validation sentences are in training, and are left out there.
    held_out = [sum(len(e.references) for e in split) for split in splits]
    assert held_out[1:] == [1014, 1000] and 0 < 29_000 - held_out[0] <= 3
    assert (task.tokenizer, task.lowercase) == ("bpe", True)


@pytest.mark.slow
@multi30k
def test_pieces_give_multi30k_back():
    task = parallel(preset="multi30k_de_en", data_dir=str(DATA))
    texts = [text for example in task.train for text in (example.source, *example.references)]
    vocabulary = Tokenizer.learn(texts, kind="bpe", size=8000, lowercase=True)
    assert vocabulary.size == 8000
    encoded = vocabulary.encode_batch(texts[::29])
    for text, ids in zip(texts[::29], encoded, strict=True):
        assert vocabulary.decode(ids) == text.lower()


def test_a_sentence_is_the_same_in_each_normal_form(tmp_path):
    composed = [f"El ni\u00f1o n\u00famero {n} comi\u00f3" for n in range(200)]
    decomposed = [unicodedata.normalize("NFD", text) for text in composed]
    pairs = [*composed, *decomposed]
    path = tmp_path / "both.tsv"
    path.write_text("".join(f"{x}\t{x}\n" for x in pairs), encoding="utf-8")
    task = parallel(tsv=str(path))
    splits = (task.train, task.validation, task.tests["test"])
    sources = [{example.source for example in split} for split in splits]
    assert sources[0] | sources[1] | sources[2] == set(composed)
    assert not (sources[0] & sources[2]) and not (sources[0] & sources[1])
    apart = parallel(tsv=str(path), unicode="none")
    train = {unicodedata.normalize("NFC", example.source) for example in apart.train}
    test = [unicodedata.normalize("NFC", e.source) for e in apart.tests["test"]]
    assert sum(source in train for source in test) > len(test) / 2
    with pytest.raises(ValueError, match="`unicode` must be one of 'nfc', 'nfkc', 'none'"):
        parallel(tsv=str(path), unicode="nfd")


def test_every_format_gives_the_same_task(files, tmp_path):
    task = parallel(**files)
    rows = [(f"sentence {i}", f"frase {i}") for i in range(300)]
    as_csv = write(tmp_path / "a.csv", ["es,en", *(f'"{y}",{x}' for x, y in rows)])
    lines = [json.dumps({"translation": {"en": x, "es": y}}) for x, y in rows]
    as_json = write(tmp_path / "a.jsonl", lines)
    for pairs in (as_csv, as_json, str(tmp_path / "a")):
        assert parallel(pairs=pairs, fields="en,es") == task
    assert parallel(pairs=write(tmp_path / "a.tsv", [f"{x}\t{y}" for x, y in rows])) == task
    dev = write(tmp_path / "dev.csv", ["en;es", "sentence 7;x"])
    test = write(tmp_path / "t.jsonl", [json.dumps({"en": "new", "es": "nuevo"})])
    given = parallel(**files, fields="en,es", delimiter=";", validation=dev, test=test)
    assert given.validation == [Example("sentence 7", ("x",))]
    assert given.tests["test"] == [Example("new", ("nuevo",))]
    refused(r"got source='.*pairs='", pairs=as_csv, **files)


def test_an_option_that_no_file_uses_is_refused(files, tmp_path):
    rows = write(tmp_path / "a.tsv", ["a\tb", "c\td", "e\tf"])
    for options, said in (
        (
            {"tsv": rows, "fields": "en,de"},
            "`fields` is of csv, datasets, jsonl, moses, tmx; got .* tsv",
        ),
        ({"tsv": rows, "delimiter": ";"}, "`delimiter` is of csv"),
        ({**files, "columns": "2,1"}, "`columns` is of tsv; .* aligned lines"),
    ):
        with pytest.raises(ValueError, match=said):
            parallel(**options)


def test_all_that_is_left_out_is_counted(tmp_path):
    rows = [f"a {i}\tb {i}" for i in range(301)]
    bad = ["a 0\tb 0", "\tb", "a b c d e f\tb", "a 7\tb seven"]
    path = write(tmp_path / "a.tsv", rows + bad)
    test = write(tmp_path / "t.tsv", ["a 7\tb 7", "\t", "new\tnuevo"])
    task = parallel(tsv=path, test=test, skip_empty=True, drop_duplicates=True, length_ratio=3)
    assert task.left_out == {
        "duplicates": 1,
        "empty": 1,
        "one side over 3 times as long as the other": 1,
        "empty, of test": 1,
        "of training, with a source of validation or test": 2,
    }
    kept = len(task.train) + sum(len(example.references) for example in task.validation)
    assert kept + 5 == len(rows + bad)
    again = tasks.get("parallel", tsv=path, skip_empty="true", length_ratio="2.5")
    assert sum(again.left_out.values()) == 2
    with pytest.raises(ValueError, match="`length_ratio` must be a number; got 'x'"):
        tasks.get("parallel", tsv=path, length_ratio="x")
