"""Changed bytes of a run's small files are refused by name, whatever they would have meant."""

import json
import random

import pytest

from attention_jax.core import files
from experiments.common import experiment, flags, run_folder
from experiments.common.load_run import load_run

LANGUAGE = experiment.find("language")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("begun")
    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog.\n" * 20)
    changes = {"text_file": str(folder / "text.txt"), "run": str(folder / "run"), "context": 8}
    config = flags.replace(LANGUAGE.config, **changes)
    data = LANGUAGE.load(config)
    known = LANGUAGE.learn(config, data, None)
    run_folder.accept(LANGUAGE, config, known, folder / "run")
    return config


@pytest.fixture
def folder(config, tmp_path):
    """A copy of a run that was accepted, and holds no checkpoint yet."""
    run = tmp_path / "run"
    run.mkdir()
    for path in type(tmp_path)(config.run.run).iterdir():
        (run / path.name).write_bytes(path.read_bytes())
    return run


def error_of(folder, config):
    """What loading says, and what going on says ("" where it goes on), each in one line."""
    with pytest.raises(ValueError) as loading:
        load_run(folder)
    found = [str(loading.value)]
    try:
        run_folder.choose(LANGUAGE, flags.replace(config, run=str(folder), resume=True), "x")
        found.append("")
    except ValueError as error:
        found.append(str(error))
    assert not any("\n" in line for line in found)
    return found


def test_an_undamaged_run_passes(folder, config):
    assert error_of(folder, config) == [
        f"`--run` must hold a trained model; {folder} has no checkpoint yet.",
        "",
    ]
    record = json.loads((folder / "run.json").read_text())
    kept = (folder / "vocabulary.json").read_bytes()
    assert record["known"] == {"vocabulary.json": files.content_hash(kept)}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("run.flags", "--context=8", "--context=9"),
        ("run.flags", "--dropout=", "#-dropout="),
        ("run.flags", "# sha256 ", "# sha256_"),
        ("run.flags", "--width=128", "--width=128 "),
        ("vocabulary.json", '"a"', '"z"'),
        ("run.json", '"language"', '"memory"'),
        ("run.json", '"sealed": true', '"sealed": null'),
        ("run.json", '"id": "', '"id": "0'),
    ],
)
def test_a_change_that_would_read_well_is_refused(folder, config, name, old, new):
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    for said in error_of(folder, config):
        assert f"{path} was changed since (its checksum differs). Put back" in said


def test_no_flipped_bit_passes_that_means_something(folder, config):
    draw = random.Random(0)
    for name in ("run.flags", "run.json"):
        path = folder / name
        whole = path.read_bytes()
        for _ in range(60):
            content = bytearray(whole)
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            path.write_bytes(content)
            loading, going_on = error_of(folder, config)
            # Spaces and the name of the checksum itself mean nothing to a record.
            harmless = name == "run.json" and same_but_for_the_seal(content, whole)
            assert harmless or ("no checkpoint yet" not in loading and going_on), bytes(content)
        path.write_bytes(whole)


def same_but_for_the_seal(content, whole):
    try:
        found, wanted = json.loads(bytes(content)), json.loads(whole)
    except ValueError:
        return False
    return {name: found.get(name) for name in wanted if name != "sha256"} == {
        name: x for name, x in wanted.items() if name != "sha256"
    }


def test_runs_without_checksums_are_read_as_they_are(folder, config):
    path = folder / "run.flags"
    path.write_text(path.read_text().rpartition("# sha256")[0])
    record = json.loads((folder / "run.json").read_text())
    for name in ("sha256", "sealed", "known"):
        del record[name]
    (folder / "run.json").write_text(json.dumps(record))
    assert "has no checkpoint yet" in error_of(folder, config)[0]
    # Going on seals them: flags first, so that a kill in between leaves what can be read.
    read = run_folder.read_record(folder)
    run_folder.accept(LANGUAGE, config, LANGUAGE.recall(config, folder), folder, read)
    assert run_folder.read_record(folder).sealed
    assert "# sha256 " in path.read_text()
