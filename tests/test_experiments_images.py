"""experiments.images as a user runs it: in a process of its own, from the command line."""

import json

import numpy as np
import pytest

from experiments import image_models
from tests.mnist_files import IMAGES, LABELS, write
from tests.scripts import script as run

TINY = (
    "--width=8 --heads=2 --layers=1 --feed_forward=8 --steps=2 --evaluate_every=2 "
    "--checkpoint_every=1 --images_per_batch=16 --shift=1 --flip"
).split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    done = run("images", *TINY, f"--run={folder}", "--attention=additive", "--pooling=attention")
    assert done.returncode == 0, done.stderr
    return folder, done


def test_a_run_leaves_its_folder(trained):
    folder, done = trained
    assert "nats a picture" in done.stdout and "1302 pictures to learn from" in done.stdout
    for name in ("run.flags", "environment.json", "metrics.jsonl", "curves.png", "attention.png",
                 "heads_1.png", "heads_3.png"):  # fmt: skip
        assert (folder / name).stat().st_size > 0, name
    result = json.loads((folder / "result.json").read_text())
    assert result["steps"] == 2 and result["target_tokens"] == 32 and not result["skipped"]
    assert set(result["of_classes"]["test"]) == set("0123456789")
    outcomes = json.loads((folder / "outcomes.json").read_text())["test"]["accuracy"]
    right, count = np.sum(outcomes, axis=0)
    assert count == 355 and right / count == pytest.approx(result["tests"]["test"]["accuracy"])


@pytest.mark.slow
@pytest.mark.parametrize("model", ["rnn", "cnn"])
def test_every_model_trains_and_a_run_goes_on_where_it_stopped(tmp_path, model):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    own = [f"--model={model}", *TINY]
    done = run("images", *own, f"--run={whole}")
    assert done.returncode == 0, done.stderr
    # It stops after its first step, as if it were killed there.
    done = run("images", *own, f"--run={parted}", "--max_seconds=0.001")
    assert done.returncode == 0, done.stderr
    assert json.loads((parted / "result.json").read_text())["steps"] == 1
    done = run("images", *own, f"--run={parted}", "--resume")
    assert done.returncode == 0, done.stderr
    results = [json.loads((f / "result.json").read_text()) for f in (whole, parted)]
    assert results[0]["steps"] == results[1]["steps"] == 2
    assert results[0]["tests"] == results[1]["tests"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data=cats"], "`data` must be digits or a folder"),
        (["--patch=3"], "`--patch` must divide both sides of the pictures, 8 x 8; got 3"),
        (["--shift=8"], "`shift` must be at least 0 and below 8"),
        (["--model=rnn", "--attention=alibi"], "or none for the last state"),
        (["--model=diffusion"], "should be one of"),
    ],
)
def test_what_a_user_can_mend_ends_in_one_clear_line(tmp_path, arguments, message):
    done = run("images", *TINY, f"--run={tmp_path / 'run'}", *arguments)
    assert done.returncode != 0 and message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_bad_pictures_are_left_out_where_it_is_asked_for(tmp_path):
    write(tmp_path / "small", IMAGES, LABELS[:-1] + b"\x09", split="train")
    write(tmp_path / "small", IMAGES, LABELS, split="t10k")
    own = [*TINY, f"--data={tmp_path / 'small'}", "--classes=2", f"--run={tmp_path / 'run'}"]
    done = run("images", *own, "--shift=0", "--patch=1")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "that of picture 2" in done.stderr and "--skip_bad" in done.stderr


def test_help_names_what_there_is():
    shown = run("images", "--help").stdout
    for flag in (
        "--data:",
        "--patch:",
        "--pooling:",
        "--reads:",
        "--[no]skip_bad:",
        "--[no]resume:",
    ):
        assert flag in shown, flag


def test_pictures_are_drawn_of_all_classes():
    labels = np.array([2, 2, 0, 1, 0, 2])
    assert image_models.some_of_each(labels, 4).tolist() == [2, 3, 0, 4]
    assert image_models.some_of_each(labels, 9).tolist() == [2, 3, 0, 4, 1, 5]
