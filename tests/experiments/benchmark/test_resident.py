"""What stays in a process that trains: two of them in turn, and what is said of them."""

import platform
import subprocess
import sys

import pytest

from experiments.benchmark import resident, rows


def turn(step, kept, given):
    """Each side as step seconds, resident bytes, most bytes ever and page faults a step."""
    names = ("step_seconds", "resident_bytes", "peak_bytes", "faults_a_step")
    sides = zip(resident.SIDES, (kept, given), strict=True)
    answers = {side: dict(zip(names, own, strict=True)) for side, own in sides}
    return resident.as_row("small", step, answers)


def test_the_first_turn_which_compiles_does_not_count():
    measured = [
        turn(1, (9.0, 9, 9, 0.0), (90.0, 90, 90, 0.0)),
        turn(2, (1.0, 10, 12, 0.0), (1.5, 4, 90, 6.0)),
        turn(3, (2.0, 11, 12, 0.0), (2.0, 5, 90, 8.0)),
        turn(4, (1.0, 11, 13, 0.0), (2.0, 5, 90, 7.0)),
    ]
    found = resident.summary(measured)["small"]
    kept, given = found["kept"], found["given back"]
    assert kept["resident_bytes"] == [10, 11] and kept["peak_bytes"] == 13
    assert given["resident_bytes"] == [4, 5] and given["faults_a_step"] == 7.0
    assert kept["step_seconds"] == 1.0 and given["step_seconds"] == 2.0
    # Turn by turn: 1.5 / 1, 2 / 2, 2 / 1.
    assert found["ratio"] == [1.5, 1.0, 2.0]


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has mallopt")
def test_two_processes_train_in_turn(tmp_path):
    output, picture = tmp_path / "resident.json", tmp_path / "resident.png"
    command = [sys.executable, "-P", "-m", "experiments.benchmark.resident", "--sizes=small"]
    command += ["--steps=6", "--every=2", f"--output={output}", f"--picture={picture}"]
    subprocess.run(command, check=True, capture_output=True)
    measured = rows.read(output).rows
    assert [row.case["step"] for row in measured] == [2, 4, 6]
    for row in measured:
        for side in resident.SIDES:
            own = row.facts[side]
            assert 2**24 < own["resident_bytes"] <= own["peak_bytes"] and own["step_seconds"] > 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_an_unknown_size_is_refused_in_one_line():
    command = [sys.executable, "-P", "-m", "experiments.benchmark.resident", "--sizes=huge"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "`--sizes` must be some of small, medium, large" in done.stderr
