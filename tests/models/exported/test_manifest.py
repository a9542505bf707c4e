"""Manifests: what was written is read, and what was damaged since is refused by name."""

import hashlib
import json

import pytest

from attention_jax.models.exported import Sizes, load_exported, manifest
from attention_jax.models.exported.manifest import Entry, Manifest
from attention_jax.models.exported.ports import Port

IN, OUT = Port("tokens", ("b", "t"), "int32"), Port("logits", ("b", "t", 9), "float32")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "logits.stablehlo").write_bytes(b"program")
    entry = Entry("logits.stablehlo", ("table",), (IN,), (OUT,), {"next.x": "x"})
    own = Manifest("stablehlo", "language", {"logits": entry}, Sizes(longest=7), {}, {"jax": "1"})
    manifest.seal(tmp_path, own._replace(about={"tokenizer": {"file": "vocabulary.json"}}))
    return tmp_path


def test_what_is_written_is_read(folder):
    found = manifest.read(folder)
    assert found.programs["logits"] == Entry(
        "logits.stablehlo", ("table",), (IN,), (OUT,), {"next.x": "x"}
    )
    assert found.sizes == Sizes(longest=7) and found.kind == "language"
    assert found.about == {"tokenizer": {"file": "vocabulary.json"}}
    assert found.files == {"logits.stablehlo": hashlib.sha256(b"program").hexdigest()}


def refused(folder, said):
    with pytest.raises(ValueError, match=said) as caught:
        load_exported(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_without_manifest(tmp_path):
    refused(tmp_path, f"{tmp_path} holds no manifest.json. Write one by")
    refused(tmp_path / "nowhere", "nowhere holds no manifest.json")


def test_a_damaged_program(folder):
    (folder / "logits.stablehlo").write_bytes(b"Program")
    refused(folder, "logits.stablehlo was changed since")


def test_a_missing_program(folder):
    (folder / "logits.stablehlo").unlink()
    refused(folder, "has no logits.stablehlo. Copy the whole folder")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"t"', '"u"', 1),
        lambda text: json.dumps({x: y for x, y in json.loads(text).items() if x != "sha256"}),
        lambda text: json.dumps({x: y for x, y in json.loads(text).items() if x != "kind"}),
        lambda text: "[]",
        lambda text: "\udcff",
    ],
)
def test_a_damaged_manifest(folder, change):
    path = folder / "manifest.json"
    path.write_bytes(change(path.read_text()).encode("utf-8", "surrogateescape"))
    refused(folder, "manifest.json was changed since")


def resealed(folder, **changes):
    own = manifest.read(folder)._replace(**changes)
    (folder / "manifest.json").unlink()
    manifest.seal(folder, own)


def test_a_folder_of_a_later_version(folder):
    resealed(folder, format_version=manifest.FORMAT_VERSION + 1)
    refused(folder, "must be of format version 1 or earlier; .* is of 2. Update")


def test_an_unknown_format(folder):
    resealed(folder, format="flax")
    refused(folder, "a format among stablehlo, onnx .*; got flax, language")


def test_a_package_that_is_not_there():
    assert manifest.versions_of(("jax", "no_such_package"))["no_such_package"] == "none"
