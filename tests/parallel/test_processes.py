"""Two processes on this machine train as one does, and go on after one of them was killed."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.support.paths import ROOT

LAUNCH = ROOT / "scripts" / "launch"
TINY = (
    "--task=reverse --task_option=vocabulary=8 --task_option=train_size=120 "
    "--task_option=validation_size=8 --task_option=test_size=12 --task_option=max_length=6 "
    "--task_option=longer_length=8 --width=16 --heads=2 --layers=1 --feed_forward=16 "
    "--max_length=16 --tokens_per_batch=112 --evaluate_every=4 --evaluate_sentences=8 "
    "--checkpoint_every=2 --log_every=1 --dropout=0 --steps=8 --learning_rate=0.001 "
    "--schedule=constant --platform=cpu"
).split()
ENVIRONMENT = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    "PYTHON": sys.executable,
}
TRAIN = [sys.executable, "-P", "-m", "experiments.translation", *TINY]
TWO = [LAUNCH, "-n", "2", "--", *TRAIN, "--mesh=data=2"]

pytestmark = pytest.mark.slow


def run(command, *arguments, code=0):
    done = subprocess.run(
        [*command, *map(str, arguments)],
        env=ENVIRONMENT,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == code, done.stderr[-4000:]
    return done


def rows(folder):
    found = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row for row in found if row["split"] == "train"]


def losses(folder):
    return np.array([row["loss"] for row in rows(folder)])


def result(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "alone"
    run(TRAIN, f"--run={folder}")
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "two"
    done = run(TWO, f"--run={folder}")
    assert "mesh: data=2 on 2 devices" in done.stdout
    assert done.stdout.count("exact match") == 1  # one of them speaks
    return folder


def same_end(folder, other):
    np.testing.assert_allclose(losses(folder), losses(other), rtol=1e-5)
    own, its = result(folder), result(other)
    assert own["target_tokens"] == its["target_tokens"] and own["steps"] == its["steps"]
    assert rows(folder)[-1]["tokens"] == rows(other)[-1]["tokens"]


def test_two_train_as_one_does(two, alone):
    same_end(two, alone)


@pytest.mark.parametrize("first", [TWO, TRAIN], ids=["two to one", "one to two"])
def test_what_two_began_one_ends_and_the_other_way_round(first, alone, tmp_path):
    folder = tmp_path / "run"
    other = TRAIN if first is TWO else TWO
    run(first, f"--run={folder}", "--steps=4")
    (folder / "result.json").unlink()
    run(other, f"--run={folder}", "--resume")
    same_end(folder, alone)


def killed(folder, number, *, after):
    """Starts two, and sends one a signal after a checkpoint; how they end."""
    process = subprocess.Popen(
        [*TWO, f"--run={folder}"],
        env=ENVIRONMENT,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not (folder / "checkpoints" / f"step_{after:09d}").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True
    )
    os.kill(sorted(map(int, children.stdout.split()))[1], number)
    return process.wait(timeout=120), process.stderr.read()


def test_one_that_is_killed_ends_the_other_and_the_run_goes_on(alone, tmp_path):
    folder = tmp_path / "run"
    code, said = killed(folder, signal.SIGKILL, after=2)
    assert (code, "process 1 failed" in said) == (128 + signal.SIGKILL, True), said
    run(TWO, f"--run={folder}", "--resume")
    same_end(folder, alone)


def test_a_signal_to_one_stops_both_at_one_step(alone, tmp_path):
    folder = tmp_path / "run"
    code, said = killed(folder, signal.SIGTERM, after=2)
    assert code == 128 + signal.SIGTERM and said.count("Stopped by SIGTERM after step") == 2, said
    run(TWO, f"--run={folder}", "--resume")
    same_end(folder, alone)


def test_what_one_refuses_both_refuse(two):
    done = run(TWO, f"--run={two}", code=1)
    assert f"{two} is in use" in done.stderr


def test_a_mesh_of_other_devices_is_refused(tmp_path):
    done = run(
        [LAUNCH, "-n", "2", "--", *TRAIN], "--mesh=data=4", f"--run={tmp_path / 'x'}", code=1
    )
    assert "error: `mesh` must use all of the 2 devices that are here; data=4 uses 4" in done.stderr
    assert not (tmp_path / "x").exists()
