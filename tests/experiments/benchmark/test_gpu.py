"""The benchmark of a GPU, at small sizes on a CPU; what fails a check is told and not measured."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmark import gpu
from tests.support.paths import ROOT

JOB = gpu._job("causal", 16, "float32", "", heads=2, batch=1, width=8)


def checked(job, verdicts):
    return {row["side"]: row for row in gpu.check(job, verdicts)}


def test_every_implementation_is_checked_or_refused():
    verdicts = {}
    rows = checked(JOB, verdicts)
    assert "needs" in rows["mosaic"]["refused"] and "this is a cpu" in rows["pallas"]["refused"]
    assert set(rows["blockwise"]["errors"]) == {"out", "dq", "dk", "dv"}
    assert verdicts == {("causal", "float32", JOB.width): {"dense": True, "blockwise": True}}
    assert "right: out" in gpu.line(rows["dense"])
    assert not list(gpu.check(JOB, verdicts, late=True))


def test_kernels_come_before_the_others(monkeypatch):
    monkeypatch.setattr(gpu, "KERNELS", ("dense",))
    measured = lambda late: [x["side"] for x in gpu.check(JOB, {}, late=late) if "errors" in x]  # noqa: E731
    assert (measured(False), measured(True)) == (["dense"], ["blockwise"])


def test_what_is_wrong_is_told_and_not_measured(monkeypatch):
    right, verdicts = gpu.ours, {}
    wrong = lambda name, case, x: right(name, case, x) * (1.1 if name == "dense" else 1)  # noqa: E731
    monkeypatch.setattr(gpu, "ours", wrong)
    row = checked(JOB, verdicts)["dense"]
    assert "errors above 0.001: out" in row["failed"] and "failed" in gpu.line(row)
    monkeypatch.setattr(gpu, "ours", right)
    assert "failed" not in checked(JOB, verdicts)["dense"]
    assert verdicts["causal", "float32", JOB.width] == {"dense": False, "blockwise": True}
    rows = list(gpu.speed(JOB._replace(direction=gpu.FORWARD), verdicts, None, 3))
    assert {row["side"] for row in rows} == {"blockwise", "jax_nn"}
    assert rows[0]["seconds"] <= rows[1]["seconds"] and rows[0]["tflops"] > 0
    table = gpu.table([row, *rows])
    assert "causal forward 1x16x2x8" in table and "failed" in table and "\n0 rows" in table


def test_a_side_that_raises_leaves_the_others(monkeypatch):
    def breaks(name, case, x):
        raise RuntimeError("out of luck\nand more")

    verdicts = {("causal", "float32", JOB.width): {"blockwise": True}}
    monkeypatch.setattr(gpu, "ours", breaks)
    rows = list(gpu.speed(JOB._replace(direction=gpu.FORWARD), verdicts, None, 3))
    assert [row["side"] for row in rows] == ["jax_nn", "blockwise"]
    assert rows[1]["failed"] == "RuntimeError: out of luck"


def test_what_there_is_no_time_for_is_named():
    rows = list(gpu.measure(gpu.Settings(-1.0, 3, True), None))
    assert all("no time" in row["left_out"] for row in rows)
    assert {row["kind"] for row in rows} == {"check", "speed", "training"}
    assert f"{len(rows)} rows were left out" in gpu.table(rows)


def test_large_sizes_need_a_gpu():
    with pytest.raises(ValueError, match="needs a GPU; JAX sees a cpu.*--small"):
        gpu.refuse(small=False)


def test_errors_are_measured_against_the_definition():
    """The reference of bfloat16 arrays is computed in float32."""
    job = JOB._replace(dtype="bfloat16")
    found = checked(job, {})["dense"]["errors"]
    assert 1e-5 < found["out"] < gpu.LIMITS["bfloat16"]
    assert jnp.dtype(job.dtype) == jax.numpy.bfloat16


@pytest.mark.filterwarnings("ignore")  # those of torch.compile
@pytest.mark.slow
@pytest.mark.parametrize("case", gpu.MEASURED)
def test_torch_computes_the_same(case):
    """On a CPU, where flex_attention has no backward pass."""
    pytest.importorskip("torch", reason="torch is not installed: the extra `peers`")
    from experiments.benchmark import gpu_torch

    for direction in (gpu.FORWARD, gpu.BOTH):
        job = gpu._job(case, 128, "float32", direction, heads=4, batch=2, width=16)
        x = gpu.arrays(job)
        exact = gpu._exact(job, x)
        for name, prepare in gpu_torch.sides(job, x).items():
            if name == "torch_flex" and direction == gpu.BOTH:
                continue
            got = tuple(jnp.asarray(y.numpy()) for y in prepare()(1))
            assert len(got) == (4 if direction == gpu.BOTH else 1)
            found = gpu.errors(got, tuple(map(jax.device_get, exact)))
            assert max(found.values()) < gpu.LIMITS["float32"], (name, found)


@pytest.mark.slow
def test_it_runs_to_its_end(tmp_path):
    file = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "experiments.benchmark", "--suite=gpu", f"--output={file}"]
    options = dict(cwd=ROOT, capture_output=True, text=True, timeout=600)
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    refused = subprocess.run(command, env=environment, **options)
    assert refused.returncode != 0 and not file.exists()
    assert "needs a GPU" in refused.stderr and "Traceback" not in refused.stderr
    done = subprocess.run([*command, "--small", "--repeats=3"], env=environment, **options)
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())["rows"]
    assert not [row for row in rows if "failed" in row["facts"]]
    measured = [row["case"] for row in rows if row["facts"].get("seconds")]
    assert {row["kind"] for row in measured} == {"speed", "training"}
    cases = {*gpu.MEASURED, "decode", "additive", "nanoGPT tiny"}
    assert {row["case"] for row in measured} == cases
    assert "milliseconds" in done.stdout and "want of time.\n" in done.stdout


def test_each_measured_shape_is_checked():
    checked = {(job.case, job.dtype, job.width) for job in gpu.check_jobs("bfloat16", False)}
    measured = {(job.case, job.dtype, job.width) for job in gpu.speed_jobs(False)}
    assert measured <= checked
