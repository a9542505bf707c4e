"""Programs compiled for virtual devices, and results that are joined point by point."""

import subprocess
import sys

import pytest

from experiments.benchmark import mesh_memory, rows, virtual
from experiments.benchmark.rows import Row


def point(number, size=1):
    return Row("suite", {"number": number}, temporary_bytes=size)


def numbers(results):
    return [(row.case["number"], row.temporary_bytes) for row in results.rows]


def test_a_row_takes_its_place_and_that_of_an_earlier_one():
    results = virtual.begun("suite", None, chosen=())
    for row in (point(3), point(1), point(2), point(3, size=9)):
        results = virtual.with_row(results, row, lambda own: own.case["number"])
    assert numbers(results) == [(1, 1), (2, 1), (3, 9)]


def test_a_run_goes_on_with_the_rows_of_a_file(tmp_path, monkeypatch):
    path = str(tmp_path / "results.json")
    assert virtual.begun("suite", path, chosen=()).rows == ()
    results = virtual.begun("suite", path, chosen=())._replace(rows=(point(1),))
    rows.write(results, path)
    monkeypatch.setattr(sys, "argv", ["program", "--axes=data", "--anew", "--width=3"])
    found = virtual.begun("suite", path, chosen=("--axes", "--anew"))
    assert numbers(found) == [(1, 1)] and found.peak_gflops == ()
    assert found.environment["command"] == ["--width=3"]


@pytest.mark.slow
def test_a_process_has_the_devices_that_it_asks_for():
    assert virtual.call("tests.support.device_count", 3, "more") == [3, "more"]


@pytest.mark.slow
def test_a_process_that_fails_is_told_in_one_line():
    with pytest.raises(RuntimeError, match="device_count with 2 devices and .* failed: .*measure"):
        virtual.call("tests.support.device_count", 2)


def memory(mesh, size, **facts):
    case = {"experiment": "images", "model": "RNN", "mesh": mesh}
    return Row("mesh_memory", case, temporary_bytes=size, facts=facts)


def test_a_table_shows_shares_of_one_device_and_dashes():
    points = (
        memory(mesh_memory.ONE, 8_000_000, parameter_bytes=3_000_000),
        memory("data=8", 2_000_000),
        memory("data=2,context=4", None),
    )
    results = rows.Results("mesh_memory", {}, (), points)
    *_, line = mesh_memory.lines(results)
    assert line == "| images, RNN | 3 | 8 | 2 (0.25) | - | - | - | - |"


@pytest.mark.slow
def test_a_mesh_that_an_experiment_refuses_has_no_memory():
    row = mesh_memory.as_row("images", "RNN", "data=2,context=4")
    assert row.temporary_bytes is None
    assert "`--mesh` may share positions" in row.not_measured["ours"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "asked", "said"),
    [
        ("mesh_memory", "--experiments=weather", "`--experiments` must be some of translation"),
        ("weak_scaling", "--axes=depth", "`--axes` must be some of data,fsdp"),
    ],
)
def test_what_there_is_not_is_refused_in_one_line(program, asked, said):
    command = [sys.executable, "-P", "-m", f"experiments.benchmark.{program}", asked]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_less_optimized_machine_code_leaves_all_counts(monkeypatch):
    asked = ("tests.support.plan_cases", 2, "data=1,fsdp=2", [], [1], None)
    quick = virtual.call(*asked)
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(virtual, "QUICK", "")
    assert virtual.call(*asked) == quick
