"""The benchmark of attention: as a user runs it, at sizes of a second."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BOTH = "forward+backward"
NEEDS_TORCH = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed: the extra `peers`"
)
# As where torch is not installed.
WITHOUT_TORCH = "import runpy, sys; sys.modules['torch'] = None; "
RUN = "runpy.run_module('experiments.benchmark', run_name='__main__')"
TINY = (
    "--suite=attention --repeats=3 --lengths=16 --short_lengths=16 --decode_lengths=32 "
    "--long_length=64 --compile_cache="
).split()


def run(*arguments, before="import runpy; "):
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    return subprocess.run(
        [sys.executable, "-c", before + RUN, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


def measured(folder, *arguments, before="import runpy; "):
    files = (f"--output={folder / 'out.json'}", f"--picture={folder / 'out.png'}")
    done = run(*TINY, *files, *arguments, before=before)
    assert done.returncode == 0, done.stderr
    assert (folder / "out.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((folder / "out.json").read_text()), done.stdout


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """All cases, without torch."""
    folder = tmp_path_factory.mktemp("benchmark")
    return measured(folder, "--dtypes=float32", before=WITHOUT_TORCH)


@pytest.mark.slow
def test_every_case_is_measured_without_torch(ours):
    results, shown = ours
    assert "torch is not installed" in shown and results["environment"]["torch"] is None
    assert any("--dtypes=float32" in word for word in results["environment"]["command"])
    for row in results["rows"]:
        side = row["ours"]
        assert "not_measured" not in side, row
        assert side["compile_seconds"] > 0 and side["temporary_bytes"] >= 0
        assert row["group"] == "memory" or (side["seconds"] > 0 and row["repeats"] == 3)
    directions = {(row["group"], row["direction"]) for row in results["rows"]}
    assert {("gqa", BOTH), ("decode", "forward"), ("long", BOTH), ("memory", "hvp")} <= directions


@pytest.mark.slow
def test_ratios_to_jax_nn_have_a_spread_and_a_summary(ours):
    results, _ = ours
    beside = [row["jax_nn"] for row in results["rows"] if "ratio" in row.get("jax_nn", {})]
    assert beside
    for side in beside:
        assert 0 < side["ratio_lowest"] <= side["ratio"] <= side["ratio_highest"]
    short = results["summary"]["jax_nn_over_ours_short"]
    assert short["count"] == 8 and short["lowest"] <= short["geometric_mean"]
    assert results["summary"]["torch_sdpa_over_ours"] == {"count": 0}
    assert "softcap" not in {row["case"] for row in results["rows"] if "jax_nn" in row}


def test_a_side_without_the_memory_is_left_out_and_says_so(tmp_path):
    options = ("--cases=causal", "--dtypes=float32", "--gigabytes=0.000001")
    results, shown = measured(tmp_path, *options, before=WITHOUT_TORCH)
    for row in results["rows"]:
        assert row["repeats"] == 0 and row["ours"]["not_measured"].startswith("skipped: needs")
    assert "jax.nn skipped: needs" in shown


def test_what_ours_refuses_stands_in_its_row(tmp_path):
    options = ("--cases=full", "--dtypes=float32", "--implementation=abacus")
    results, _ = measured(tmp_path, *options, before=WITHOUT_TORCH)
    for row in results["rows"]:
        assert "`implementation` must be" in row["ours"]["not_measured"]
        assert row["jax_nn"]["seconds"] > 0 and "ratio" not in row["jax_nn"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--cases=telepathy", "`--cases` must be some of full, causal"),
        ("--dtypes=int8", "`--dtypes` must be some of float32, bfloat16; got int8"),
        ("--lengths=16,many", "`--lengths` must be lengths above 0; got 16,many"),
        ("--repeats=1", "repeats"),
    ],
)
def test_wrong_flags_end_in_one_clear_line(argument, message):
    done = run(*TINY, argument)
    assert done.returncode != 0 and message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def beside_torch(tmp_path_factory):
    """All cases that torch has sides for."""
    cases = "full,causal,window,alibi,softcap,documents,additive,cosine,gqa"
    options = (f"--cases={cases}", "--dtypes=float32")
    return measured(tmp_path_factory.mktemp("beside_torch"), *options)


@NEEDS_TORCH
@pytest.mark.slow
def test_torch_stands_beside_each_case_that_it_can_express(beside_torch):
    results, _ = beside_torch
    assert results["environment"]["torch"]
    for row in results["rows"]:
        expected = {"torch_sdpa", "torch_flex"}
        if row["case"] in ("additive", "cosine"):
            expected = {"torch_direct", "torch_sdpa"}
        expected -= {"torch_sdpa"} if row["case"] in ("softcap", "additive") else set()
        expected -= {"torch_flex"} if row["direction"] == BOTH else set()
        assert {name for name in row if name.startswith("torch_")} == expected, row
        assert all(row[name]["ratio"] > 0 for name in expected - {"torch_flex"})
        # Without a compiler there is no flex_attention, and the row says why.
        flex = row.get("torch_flex", {"ratio": 1})
        assert "ratio" in flex or flex["not_measured"].startswith("not available: ")


@NEEDS_TORCH
@pytest.mark.slow
def test_ours_and_jax_nn_are_held_against_float64(beside_torch, tmp_path):
    # The window shows only in what is longer.
    options = ("--cases=window", "--lengths=272", "--dtypes=float32")
    longer, _ = measured(tmp_path, *options)
    for row in beside_torch[0]["rows"] + longer["rows"]:
        names = {"out"} | ({"dq", "dk", "dv"} if row["direction"] == BOTH else set())
        for side in {"ours", "jax_nn"} & set(row):
            assert set(row[side]["error"]) == names
            assert max(row[side]["error"].values()) < 1e-5, row
    assert beside_torch[0]["summary"]["accuracy"]["float32"]["count"] == 45


@NEEDS_TORCH
@pytest.mark.slow
def test_training_is_measured_beside_torch(tmp_path):
    sizes = "--vocabulary=20 --sentences=2 --length=4 --repeats=3 --compile_cache=".split()
    done = run("--suite=training", *sizes, f"--output={tmp_path / 'out.json'}")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out.json").read_text())
    assert results["suite"] == "training" and len(results["results"]) == 2
