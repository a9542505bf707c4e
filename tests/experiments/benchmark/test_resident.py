"""What stays in a process that trains: two of them in turn, and what is said of them."""

import json
import platform
import subprocess
import sys

import pytest

from experiments.benchmark import resident


def row(side, step, **facts):
    usual = {"resident_bytes": 1, "peak_bytes": 1, "step_seconds": 1.0, "faults_a_step": 0.0}
    return {"size": "small", "side": side, "step": step, **usual, **facts}


def test_the_first_turn_which_compiles_does_not_count():
    kept, given = resident.SIDES
    rows = [
        row(kept, 1, step_seconds=9.0, resident_bytes=9),
        row(given, 1, step_seconds=90.0, resident_bytes=90),
        row(kept, 2, step_seconds=1.0, resident_bytes=10),
        row(given, 2, step_seconds=1.5, resident_bytes=4, faults_a_step=6.0),
        row(kept, 3, step_seconds=2.0, resident_bytes=11, peak_bytes=12),
        row(given, 3, step_seconds=2.0, resident_bytes=5, faults_a_step=8.0),
        row(kept, 4, step_seconds=1.0, resident_bytes=11, peak_bytes=13),
        row(given, 4, step_seconds=2.0, resident_bytes=5, faults_a_step=7.0),
    ]
    found = resident.summary(rows)["small"]
    assert found[kept]["resident_bytes"] == [10, 11] and found[kept]["peak_bytes"] == 13
    assert found[given]["resident_bytes"] == [4, 5] and found[given]["faults_a_step"] == 7.0
    assert found[kept]["step_seconds"] == 1.0 and found[given]["step_seconds"] == 2.0
    # Turn by turn: 1.5 / 1, 2 / 2, 2 / 1.
    assert found["ratio"] == [1.5, 1.0, 2.0]


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has mallopt")
def test_two_processes_train_in_turn(tmp_path):
    output, picture = tmp_path / "resident.json", tmp_path / "resident.png"
    command = [sys.executable, "-P", "-m", "experiments.benchmark.resident", "--sizes=small"]
    command += ["--steps=6", "--every=2", f"--output={output}", f"--picture={picture}"]
    subprocess.run(command, check=True, capture_output=True)
    rows = json.loads(output.read_text())["rows"]
    kept, given = resident.SIDES
    assert [row["side"] for row in rows] == [kept, given, given, kept, kept, given]
    assert [row["step"] for row in rows] == [2, 2, 4, 4, 6, 6]
    for row in rows:
        assert 2**24 < row["resident_bytes"] <= row["peak_bytes"] and row["step_seconds"] > 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_an_unknown_size_is_refused_in_one_line():
    command = [sys.executable, "-P", "-m", "experiments.benchmark.resident", "--sizes=huge"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "`--sizes` must be some of small, medium, large" in done.stderr
