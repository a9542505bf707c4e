"""The folder of a run: nothing in it changes until a call is accepted."""

import json
import re

import jax
import pytest
from flax import nnx

from attention_jax.training.checkpoints import Checkpoints
from experiments.common import attention_files, experiment, flags, run_folder
from experiments.common.load_run import load_params, load_run, run_folder_of, save_params
from experiments.common.train import _of_schedule, train
from tests.support.sealed_runs import write_record

OWN = """
from attention_jax import from_score

def manhattan(p=1):
    return from_score(lambda params: lambda q, k: -(abs(q - k) ** p).sum())

def other():
    return manhattan()
"""
MEMORY = experiment.find("memory")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


def begun(folder, **changes):
    """The configuration of a run that was accepted."""
    config = flags.replace(MEMORY.config, run=str(folder), **changes)
    run_folder.accept(MEMORY, config, None, folder)
    return config


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unseal(folder):
    """Makes a run one that was begun before checksums were kept."""
    path = folder / "run.flags"
    path.write_text(path.read_text().rpartition("# sha256 ")[0])
    record = json.loads((folder / "run.json").read_text())
    own = {name: x for name, x in record.items() if name not in ("sha256", "sealed", "known")}
    (folder / "run.json").write_text(json.dumps(own))


@pytest.mark.parametrize("options", ["", ":manhattan(p=2)", ":other", "(p=2)"])
def test_a_run_keeps_the_file_of_its_attention(tmp_path, file, options):
    folder = tmp_path / "run"
    begun(folder, attention=f"{file}{options}")
    assert (folder / "mine.py").read_text() == OWN
    assert f"--attention={folder}/mine.py{options}\n" in (folder / "run.flags").read_text()
    # Wherever the folder is, its own file is read.
    moved = folder.rename(tmp_path / "moved")
    read = run_folder.read_config(MEMORY, moved)
    assert read.model.attention == f"{moved}/mine.py{options}"


def test_an_old_flagfile_names_the_file_by_another_flag(tmp_path, file):
    config, _ = flags.parse(MEMORY.config, [f"--attention_file={file}", "--attention=dot"])
    assert config.model.attention_text == str(file)
    folder = tmp_path / "run"
    begun(folder)
    unseal(folder)
    lines = (folder / "run.flags").read_text()
    (folder / "run.flags").write_text(f"{lines}--attention_file=gone/mine.py\n")
    (folder / "mine.py").write_text(OWN)
    read = run_folder.read_config(MEMORY, folder)
    assert read.model.attention == str(folder / "mine.py")


def test_attentions_of_an_earlier_format_keep_their_form(tmp_path):
    folder = tmp_path / "run"
    begun(folder, attention="[gated, alibi]")
    assert run_folder.read_config(MEMORY, folder).model.attention == "[gated, alibi]"
    write_record(folder, format_version=1)
    kept = run_folder.read_config(MEMORY, folder).model.attention
    assert kept == "[gated(gates='query'), alibi]"


def test_a_record_says_what_the_folder_is(tmp_path):
    folder = tmp_path / "run"
    begun(folder)
    record = json.loads((folder / "run.json").read_text())
    own = record["id"]
    assert record == {
        "format_version": 2,
        "experiment": "memory",
        "id": own,
        "data": {},
        "left_out": {},
        "files": {},
        "known": {},
        "sealed": True,
        "sha256": record["sha256"],
    }
    assert run_folder.read_record(folder) == run_folder.Record(2, "memory", own, sealed=True)
    begun(tmp_path / "other")
    assert run_folder.read_record(tmp_path / "other").id != own


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "is in use. Go on with it by --resume"),
        ({"resume": True, "width": 64}, "has --width=128, and this call --width=64. Give --flagf"),
        ({"resume": True, "kv_heads": 2}, "has no such flag, and this call --kv_heads=2"),
        ({"resume": True, "run": "ELSE"}, "needs a run that was started; .* holds no run.flags"),
        ({"overwrite": True, "run": "ELSE"}, "deletes only runs; .* holds no run.flags"),
    ],
)
def test_a_refused_call_changes_nothing(tmp_path, changes, message):
    folder, other = tmp_path / "run", tmp_path / "else"
    config = begun(folder)
    other.mkdir()
    (other / "letter.txt").write_text("mine")
    before = contents(tmp_path)
    changes = {name: str(other) if x == "ELSE" else x for name, x in changes.items()}
    with pytest.raises(ValueError, match=message):
        run_folder.choose(MEMORY, flags.replace(config, **changes), "recall")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("patience", 0, "`patience` must be at least 1"),
        ("final_rate", -1.0, "`final_rate` must be 0, or above 0 for a cosine"),
    ],
)
def test_a_run_is_not_deleted_for_a_call_that_is_refused(tmp_path, name, value, message):
    folder = tmp_path / "run"
    config = begun(folder)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=message):
        train(MEMORY, flags.replace(config, overwrite=True, **{name: value}))
    assert contents(tmp_path) == before


def test_only_its_own_experiment_goes_on(tmp_path):
    folder = tmp_path / "run"
    begun(folder)
    language = experiment.find("language")
    config = flags.replace(language.config, run=str(folder), resume=True)
    with pytest.raises(ValueError, match="is of experiments.memory, and this call of experiments"):
        run_folder.choose(language, config, "text")


def test_a_changed_file_of_an_attention_is_refused(tmp_path, file):
    folder = tmp_path / "run"
    config = flags.replace(begun(folder, attention=f"{file}:manhattan"), resume=True)
    assert run_folder.choose(MEMORY, config, "recall") == folder
    file.write_text(OWN + "# changed\n")
    with pytest.raises(ValueError, match="must be as it was when the run began; .* differs from"):
        run_folder.choose(MEMORY, config, "recall")
    file.unlink()
    assert attention_files.check(config).model.attention == f"{folder}/mine.py:manhattan"


def test_changed_data_are_refused_and_moved_ones_are_not(tmp_path):
    folder = tmp_path / "run"
    images = experiment.find("images")
    config = flags.replace(images.config, run=str(folder), data="here")
    record = run_folder.new_record(images, {"train": "1", "test": "2"})
    known = images.learn(config, images.load(images.config), None)
    run_folder.accept(images, config, known, folder, record)
    moved = flags.replace(config, data="there", resume=True)
    assert run_folder.choose(images, moved, "x", {"train": "1", "test": "2"}) == folder
    before = contents(folder)
    with pytest.raises(ValueError, match="the contents of train have changed. Give the data of"):
        run_folder.choose(images, moved, "x", {"train": "3", "test": "2"})
    # Of a run that was begun before contents were recorded, the path must be the same.
    assert contents(folder) == before
    run_folder.accept(images, config, known, folder, record._replace(data={}))
    with pytest.raises(ValueError, match="has --data=here, and this call --data=there"):
        run_folder.choose(images, moved, "x", {"train": "1", "test": "2"})


def test_a_file_changed_in_the_folder_is_refused(tmp_path, file):
    folder = tmp_path / "run"
    config = flags.replace(begun(folder, attention=str(file)), resume=True)
    (folder / "mine.py").write_text(OWN + "# changed\n")
    file.unlink()
    with pytest.raises(ValueError, match="must be as it was when the run began; .*mine.py was"):
        run_folder.choose(MEMORY, config, "recall")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", '{"format_ver', "run.json is damaged .JSONDecodeError on reading it."),
        ("run.json", "[]", "run.json is damaged .TypeError on reading it."),
        ("run.json", '{"format_version": 9, "experiment": "x"}', "of experiments.x, is of 9"),
        ("run.flags", "", "run.flags holds no flags"),
        ("run.flags", "--width=wide", "run.flags must hold flags of this version: .* --width"),
    ],
)
def test_a_damaged_folder_is_named_in_one_line(tmp_path, name, content, message):
    folder = tmp_path / "run"
    begun(folder)
    unseal(folder)
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        load_run(folder)
    assert "\n" not in str(error.value)


def test_parameters_of_a_run_that_has_not_finished_are_said_to_be(tmp_path, capsys):
    def build(key):
        return nnx.Linear(1, 1, rngs=nnx.Rngs(key))

    params = nnx.as_pure(nnx.split(build(jax.random.key(1)))[1])
    Checkpoints(tmp_path / "checkpoints").save(3, {"params": params})
    found = load_params(tmp_path, build)
    assert found["kernel"] == params["kernel"]
    assert capsys.readouterr().err == (
        f"{tmp_path} has not finished. The checkpoint of step 3 is taken.\n"
    )
    save_params(tmp_path, params, {})
    load_params(tmp_path, build)
    assert capsys.readouterr().err == ""


def test_folders_are_named_by_what_is_trained():
    config = flags.replace(MEMORY.config, attention="sliding_window(size=64)")
    folder = run_folder.choose(MEMORY, config, "recall")
    assert folder.as_posix() == "runs/recall-transformer-sliding_window-size_64"


def test_what_changes_nothing_may_change(tmp_path):
    config = begun(tmp_path / "run")
    longer = flags.replace(config, resume=True, steps=5000, test_lengths=("8",), platform="cpu")
    assert run_folder.choose(MEMORY, longer, "recall") == tmp_path / "run"


def test_what_cannot_be_used_is_said_in_one_line(tmp_path):
    begun(tmp_path / "run")
    with pytest.raises(ValueError, match="must hold a trained model; .* has no checkpoint yet"):
        load_run(tmp_path / "run", ["--test_lengths=8"])
    with pytest.raises(ValueError, match="must be of experiments.images, .* is of experiments.mem"):
        run_folder_of(str(tmp_path / "run"), "predict")
    with pytest.raises(ValueError, match="`--run` must name the folder of a run; got none"):
        run_folder_of(None, "predict")
    with pytest.raises(ValueError, match="There is no experiments.cooking. Use one of images, "):
        experiment.find("cooking")


def test_a_dry_run_says_what_it_would_do_and_leaves_nothing(tmp_path, capsys):
    config = flags.replace(
        MEMORY.config, run=str(tmp_path / "run"), dry_run=True, width=8, heads=2, feed_forward=8
    )
    assert train(MEMORY, config) == tmp_path / "run"
    said = capsys.readouterr().out
    assert "parameters; 1,000 steps" in said and "nothing is trained" in said
    [count] = re.findall(r"model: ([\d,]+) parameters", said)
    [(work, held, beside)] = re.findall(r"a step: (\S+) GFLOP, (\S+) MB of .*, (\S+) MB", said)
    # AdamW holds two numbers beside each parameter; a step takes some products of each.
    assert abs(float(held) - 3 * 4 * int(count.replace(",", "")) / 1e6) < 0.06
    assert float(work) > 0 and float(beside) > 0
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("schedule", "lines"), [("cosine", 1), ("constant", 0)])
def test_more_steps_say_what_becomes_of_the_learning_rate(tmp_path, schedule, lines):
    config = begun(tmp_path / "run", schedule=schedule, steps=100, learning_rate=0.5)
    longer = flags.replace(config, steps=200)
    said = list(_of_schedule(MEMORY, longer, tmp_path / "run"))
    assert len(said) == lines
    if said:
        assert said[0].startswith("--steps was 100 and is 200: the learning rate of step 100 goes")
        assert " from 0 to 0." in said[0]
