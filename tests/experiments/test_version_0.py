"""Runs of format version 0, which have no run.json: they load, predict as then, and go on."""

import json
import tarfile
from pathlib import Path

import jax
import pytest

from attention_jax.core.files import content_hash
from experiments.common import flags, run_folder
from experiments.common.experiment import PredictFlags
from experiments.common.load_run import configure, load_run
from experiments.common.train import train
from experiments.memory import evaluate
from tests.support.scripts import script

OLD = Path(__file__).parent / "version_0"
RUNS = sorted(path.name.removesuffix(".tar.xz") for path in OLD.glob("*.tar.xz"))
# What each was asked, and the flags beside.
ASKED = {
    "translation": (PredictFlags(text="a b c", scores=True), []),
    "images": (PredictFlags(file=str(OLD / "digit.png"), scores=True), []),
    "speech": (PredictFlags(file=str(OLD / "tone.wav"), scores=True), []),
    "language": (PredictFlags(text="7 and"), ["--characters=20"]),
    "memory": (PredictFlags(), []),
}


@pytest.fixture
def unpack(tmp_path):
    """`unpack(name)` gives the folder of a run."""

    def unpacked(name):
        with tarfile.open(OLD / f"{name}.tar.xz") as archive:
            archive.extractall(tmp_path, filter="data")
        return tmp_path / name

    return unpacked


def test_there_are_two_of_each_experiment():
    kinds = [name.partition("_")[0] for name in RUNS]
    assert sorted(kinds) == sorted(2 * list(ASKED))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", RUNS)
def test_it_predicts_what_it_did_then(name, unpack):
    own = name.partition("_")[0]
    given, arguments = ASKED[own]
    run = load_run(unpack(name), arguments)
    assert run.experiment.name == own
    assert run_folder.read_record(run.folder)[:2] == (0, own)
    if own == "memory":
        return scores_are_those_of_then(run)
    said = "".join(f"{line}\n" for line in run.experiment.predict(run, given))
    assert said == (OLD / f"{name}.predict").read_text(encoding="utf-8")


def scores_are_those_of_then(run):
    """Memory predicts nothing for a user; what it answered in its tests is in outcomes.json."""
    data = run.experiment.load(run.config)
    score = evaluate.scorer(run.graphdef, adds=run.config.data.problem == "adding")
    then = json.loads((run.folder / "outcomes.json").read_text())
    assert len(then) == len(data.tests)
    for length, batches in data.tests.items():
        rows = score(run.params, batches)["rows"]
        assert rows == then[evaluate.test_name(run.config, length)]["accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_it_goes_on(name, unpack, monkeypatch):
    folder = unpack(name)
    monkeypatch.chdir(OLD)  # where the text of the language runs is
    before = (folder / "metrics.jsonl").read_text().splitlines()
    experiment = load_run(folder).experiment
    config = configure(experiment, folder, ["--resume", "--steps=6"])
    assert train(experiment, config) == folder
    after = (folder / "metrics.jsonl").read_text().splitlines()
    assert after[: len(before)] == before
    steps = [json.loads(line)["step"] for line in after[len(before) :]]
    assert steps and min(steps) > 4 and max(steps) == 6
    assert json.loads((folder / "result.json").read_text())["steps"] == 6
    # A run keeps its version, and with it what that version did; its attention file is known now.
    files = {x.name: content_hash(x.read_bytes()) for x in folder.glob("*.py")}
    own = run_folder.Record(0, experiment.name, files=files, sealed=True)
    assert run_folder.read_record(folder) == own
    trained = flags.values(load_run(folder).config)
    assert trained["steps"] == 6 and trained["width"] == 8


@pytest.mark.slow
def test_commands_read_it(unpack):
    folder = unpack("translation_rnn")
    done = script("predict", f"--run={folder}", "--text=a b c", "--scores")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (OLD / "translation_rnn.predict").read_text(encoding="utf-8")
    done = script("visualize", f"--run={folder}", "--text=a b c")
    assert done.returncode == 0, done.stderr
    flagfile = f"--flagfile={folder / 'run.flags'}"
    done = script("translation", flagfile, f"--run={folder}", "--resume", "--steps=6")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_two_runs_stand_side_by_side(unpack):
    first, second = (load_run(unpack(name)) for name in ("translation_rnn", "language_transformer"))
    assert (first.config.model.model, second.config.model.model) == ("rnn", "transformer")
    assert first.tokenizer.size != second.tokenizer.size
    assert "own_distance.py" in first.config.model.attention
    # The first is as it was before the second was read.
    again = load_run(first.folder)
    same = jax.tree.map(lambda a, b: bool((a == b).all()), first.params, again.params)
    assert all(jax.tree.leaves(same)) and again.config == first.config


def test_a_run_of_a_later_version_is_refused(unpack):
    folder = unpack("images_rnn")
    later = run_folder.FORMAT_VERSION + 1
    record = {"format_version": later, "experiment": "images"}
    (folder / run_folder.RECORD).write_text(json.dumps(record))
    want = f"format version 2 or earlier; .* is of {later}. Update attention_jax, or train anew."
    with pytest.raises(ValueError, match=want) as caught:
        load_run(folder)
    assert "\n" not in str(caught.value)


def test_a_run_that_says_nothing_is_a_translation(unpack):
    folder = unpack("translation_transformer")
    kept = folder / "run.flags"
    kept.write_text(kept.read_text().partition("\n")[2])
    assert load_run(folder).experiment.name == "translation"
    kept.write_text("--colour=red\n")
    with pytest.raises(ValueError, match="run.flags must hold flags of this version: .*colour"):
        load_run(folder)
