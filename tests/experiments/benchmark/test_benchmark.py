"""Suites of the benchmark: as a user runs them, at sizes of a second."""

import importlib.util
import itertools
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.analysis.plots import direct_labels
from attention_jax.core import masks
from experiments.benchmark import (
    attention_cases,
    attention_report,
    rows,
    variants,
    variants_report,
)
from tests.support.paths import ROOT

FORWARD, BOTH = "forward", "forward+backward"
NEEDS_TRANSFORMERS = pytest.mark.skipif(
    None in map(importlib.util.find_spec, ("torch", "transformers")),
    reason="torch or transformers is not installed: the extra `peers`",
)
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
    drawn = list(folder.glob("out*.png"))
    assert drawn and all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
    return rows.read(folder / "out.json"), done.stdout


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """All cases, without torch."""
    folder = tmp_path_factory.mktemp("benchmark")
    return measured(folder, "--dtypes=float32", before=WITHOUT_TORCH)


@pytest.mark.slow
def test_every_case_is_measured_without_torch(ours):
    results, shown = ours
    assert "torch is not installed" in shown and results.environment["torch"] is None
    assert "--dtypes=float32" in results.environment["command"]
    assert len(results.peak_gflops) == 2 and min(results.peak_gflops) > 0
    for row in results.rows:
        assert not row.not_measured, row
        assert row.facts["ours"]["compile_seconds"] > 0 and row.temporary_bytes >= 0
        assert row.case["group"] == "memory" or (row.ours_ms > 0 and row.repeats == 3)
        assert (row.share_of_peak is None) == (row.ours_ms is None or row.flops is None)
    directions = {(row.case["group"], row.case["direction"]) for row in results.rows}
    assert {("gqa", BOTH), ("decode", "forward"), ("long", BOTH), ("memory", "hvp")} <= directions


@pytest.mark.slow
def test_ratios_to_jax_nn_have_a_spread_and_a_summary(ours):
    results, _ = ours
    beside = [row.ratio["jax_nn"] for row in results.rows if "jax_nn" in row.ratio]
    assert beside
    for ratio in beside:
        assert 0 < ratio.lowest <= ratio.median <= ratio.highest
    summary = attention_report.summary(list(results.rows))
    short = summary["jax_nn_over_ours_short"]
    assert short["count"] == 8 and short["lowest"] <= short["geometric_mean"]
    assert summary["torch_sdpa_over_ours"] == {"count": 0}
    assert "softcap" not in {row.case["case"] for row in results.rows if "jax_nn" in row.facts}


@pytest.mark.slow
def test_a_side_without_the_memory_is_left_out_and_says_so(tmp_path):
    options = ("--cases=causal", "--dtypes=float32", "--gigabytes=0.000001")
    results, shown = measured(tmp_path, *options, before=WITHOUT_TORCH)
    for row in results.rows:
        assert row.repeats == 0 and row.not_measured["ours"].startswith("skipped: needs")
    assert "jax.nn skipped: needs" in shown


@pytest.mark.slow
def test_what_ours_refuses_stands_in_its_row(tmp_path):
    options = ("--cases=full", "--dtypes=float32", "--implementation=abacus")
    results, _ = measured(tmp_path, *options, before=WITHOUT_TORCH)
    for row in results.rows:
        assert "`implementation` must be" in row.not_measured["ours"]
        assert row.peer_ms["jax_nn"] > 0 and row.ratio == {}


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--cases=telepathy", "`--cases` must be some of full, causal"),
        ("--dtypes=int8", "`--dtypes` must be some of float32, bfloat16; got int8"),
        ("--lengths=16,many", "`--lengths` must be lengths above 0; got 16,many"),
        ("--repeats=1", "repeats"),
        ("--suite=variants --variants=telepathy", "`--variants` must be some of"),
        ("--suite=decoding --beams=0", "`--beams` must be lengths above 0; got 0"),
    ],
)
def test_wrong_flags_end_in_one_clear_line(argument, message):
    done = run(*TINY, *argument.split())
    assert done.returncode != 0 and message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("before", ["import runpy; ", WITHOUT_TORCH])
def test_decoding_is_measured(tmp_path, before):
    sizes = "--vocabulary=20 --lengths=3 --batches=2 --beams=1,2 --repeats=3 --compile_cache="
    sizes += " --streams=2 --sampled=6"
    file = tmp_path / "out.json"
    done = run("--suite=decoding", *sizes.split(), f"--output={file}", before=before)
    assert done.returncode == 0, done.stderr
    found = rows.read(file).rows
    searches = ("translate", 1), ("translate", 2), ("sample", 1)
    assert [(row.case["model"], row.case["task"], row.case["beams"]) for row in found] == [
        (model, *search) for model in ("tiny", "base") for search in searches
    ]
    assert all(row.ours_ms > 0 and row.temporary_bytes > 0 for row in found)
    is_beside = before != WITHOUT_TORCH and not NEEDS_TRANSFORMERS.args[0]
    assert all(("hugging_face" in row.ratio) == is_beside for row in found), found


@NEEDS_TRANSFORMERS
@pytest.mark.slow
def test_ctranslate2_writes_what_the_model_of_its_weights_writes(tmp_path):
    pytest.importorskip("ctranslate2")
    sizes = "--vocabulary=40 --lengths=6 --batches=2 --beams=1,3 --models=tiny --compile_cache="
    file = tmp_path / "out.json"
    done = run("--suite=decoding", "--peer=ctranslate2", *sizes.split(), f"--output={file}")
    assert done.returncode == 0, done.stderr
    found = rows.read(file).rows
    assert [row.facts["tokens_alike"] for row in found] == [1.0, 1.0]
    assert all(row.ratio["ctranslate2"].median > 0 for row in found)


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
    assert results.environment["torch"]
    for row in results.rows:
        case = row.case["case"]
        expected = {"torch_sdpa", "torch_flex"}
        if case in ("additive", "cosine"):
            expected = {"torch_direct", "torch_sdpa"}
        expected -= {"torch_sdpa"} if case in ("softcap", "additive") else set()
        expected -= {"torch_flex"} if row.case["direction"] == BOTH else set()
        assert {name for name in row.facts if name.startswith("torch_")} == expected, row
        # Without a compiler there is no flex_attention, and the row says why.
        assert set(row.not_measured) <= {"torch_flex"} & expected
        assert all(reason.startswith("not available: ") for reason in row.not_measured.values())
        assert all(row.ratio[name].median > 0 for name in expected - set(row.not_measured))


@NEEDS_TORCH
@pytest.mark.slow
def test_ours_and_jax_nn_are_held_against_float64(beside_torch, tmp_path):
    # The window shows only in what is longer.
    options = ("--cases=window", "--lengths=272", "--dtypes=float32")
    longer, _ = measured(tmp_path, *options)
    for row in beside_torch[0].rows + longer.rows:
        names = {"out"} | ({"dq", "dk", "dv"} if row.case["direction"] == BOTH else set())
        for side in {"ours", "jax_nn"} & set(row.facts):
            assert set(row.facts[side]["error"]) == names
            assert max(row.facts[side]["error"].values()) < 1e-5, row
    summary = attention_report.summary(list(beside_torch[0].rows))
    assert summary["accuracy"]["float32"]["count"] == 45


@pytest.mark.slow
@pytest.mark.parametrize("before", ["import runpy; ", WITHOUT_TORCH])
def test_training_is_measured(tmp_path, before):
    sizes = "--vocabulary=20 --sentences=2 --length=4 --repeats=3 --compile_cache=".split()
    chosen = ("--cases=lstm_plain,transformer_tiny", "--peers=torch")
    file = tmp_path / "out.json"
    done = run("--suite=training", *chosen, *sizes, f"--output={file}", before=before)
    assert done.returncode == 0, done.stderr
    found = rows.read(file).rows
    assert [row.case["model"] for row in found] == ["lstm_plain", "transformer_tiny"]
    is_beside = before != WITHOUT_TORCH and not NEEDS_TORCH.args[0]
    for row in found:
        assert row.ours_ms > 0 and row.temporary_bytes > 0 and 0 < row.share_of_peak < 1
        assert row.facts["limit_ms"] > 0 and row.facts["products_complete"]
        assert ("torch" in row.ratio) == is_beside and ("torch" in row.not_measured) != is_beside


@pytest.mark.slow
def test_the_start_of_programs_is_measured(tmp_path):
    sizes = "--vocabulary=20 --sentences=2 --length=4 --repeats=3 --compile_cache=".split()
    done = run("--suite=start", *sizes, f"--output={tmp_path / 'out.json'}")
    assert done.returncode == 0, done.stderr
    found = rows.read(tmp_path / "out.json").rows
    assert [row.case.get("cache") for row in found] == [None, None, "cold", "warm"]
    cold, warm = found[2:]
    assert warm.ours_ms < cold.ours_ms and all(row.facts["state_ms"] > 0 for row in (cold, warm))


@pytest.fixture(scope="module")
def of_variants(tmp_path_factory):
    """Two variants at two lengths."""
    options = "--suite=variants --variants=linear,entmax --lengths=64,32"
    return measured(tmp_path_factory.mktemp("variants"), *options.split())


@pytest.mark.slow
def test_every_variant_is_measured_at_every_length(of_variants):
    results, shown = of_variants
    assert len(results.rows) == 2 * 2 * 2
    for row in results.rows:
        assert not row.not_measured, row
        assert row.ours_ms > 0 and row.facts["compile_seconds"] > 0 and row.temporary_bytes >= 0
        assert row.case["way"] == "causal" and row.repeats == 3
    families = {row.case["variant"]: row.case["family"] for row in results.rows}
    assert families == {"linear": "sums and states", "entmax": "all weights at once"}
    for name in families:
        assert sum(name in line for line in shown.splitlines()) == 2


@pytest.mark.slow
def test_growth_between_two_lengths_is_that_of_their_ratio(of_variants):
    results, _ = of_variants
    growth = variants.growth(list(results.rows))
    for name, by_direction in growth.items():
        for direction, found in by_direction.items():
            own = {"variant": (name,), "direction": (direction,)}
            short, long = (row for row in results.rows if row.matches(own))
            assert found["lengths"] == [32, 64] == [short.case["length"], long.case["length"]]
            assert 2 ** found["seconds"] == pytest.approx(long.ours_ms / short.ours_ms)
    # Unlike time, what is held does not depend on how busy the machine is.
    assert growth["entmax"][BOTH]["temporary_bytes"] > 1.5


def test_growth_is_the_slope_over_all_lengths():
    own = {"variant": "a", "direction": BOTH}
    noise = (1.0, 2.0, 0.5, 2.0, 1.0)  # whose slope is 0
    measured = [
        rows.Row("variants", own | {"length": n}, 3.0 * n**1.5 * x, temporary_bytes=7 * n**2)
        for n, x in zip((16, 1, 4, 2, 8), (noise[i] for i in (4, 0, 2, 1, 3)), strict=True)
    ]
    left_out = {"ours": "skipped"}
    measured.append(rows.Row("variants", own | {"length": 32}, not_measured=left_out))
    found = variants.growth(measured)["a"][BOTH]
    assert found["lengths"] == [1, 2, 4, 8, 16]
    assert found["seconds"] == pytest.approx(1.5)
    assert found["temporary_bytes"] == pytest.approx(2.0)
    assert variants.growth(measured[-2:])["a"][BOTH]["seconds"] is None


@pytest.mark.slow
def test_some_variants_are_measured_anew_beside_others(tmp_path):
    own = {"family": "scores of a pair", "direction": BOTH, "length": 8}
    kept = rows.Row("variants", {"variant": "dot", **own}, ours_ms=2.0)
    old = rows.Row("variants", {"variant": "linear", **own}, ours_ms=1e9)
    file = tmp_path / "out.json"
    rows.write(rows.start("variants")._replace(rows=(old, kept)), str(file))
    results, _ = measured(tmp_path, *"--suite=variants --variants=linear --lengths=8,16".split())
    assert results.rows[0] == kept and len(results.rows) == 5
    assert max(row.ours_ms for row in results.rows) < 1e6


@pytest.mark.slow
def test_a_variant_that_needs_too_much_memory_is_left_out_and_says_so(tmp_path):
    options = "--suite=variants --variants=linear --lengths=8,64,128 --gigabytes=0.0004"
    results, shown = measured(tmp_path, *options.split())
    reasons = [row.not_measured.get("ours", "") for row in results.rows[-3:]]
    assert not reasons[0] and reasons[2].startswith("skipped: needs 0.0 GB at")
    assert reasons[2] in shown
    assert variants.growth(list(results.rows))["linear"][BOTH]["lengths"] == [8]


def test_a_length_that_might_take_too_long_is_left_out_and_says_so():
    before = rows.Row("variants", {"length": 1024}, ours_ms=500.0)
    assert variants._why_not(before, 2048, 2.0) is None
    reason = variants._why_not(before, 4096, 2.0)
    assert reason == "skipped: a call might take 8.0 s at 4,096, after 0.5 s at 1,024"
    # So it stays at longer ones, which have no time to go by.
    left_out = rows.Row("variants", {"length": 4096}, not_measured={"ours": reason})
    assert variants._why_not(left_out, 8192, 2.0) == reason


def test_each_figure_of_variants_asks_one_question():
    """Dots are the numbers of the rows, at the longest length that nearly all were measured at."""
    cases = [("dot", "scores of a pair", 2.0), ("linear", "sums and states", 1.0)]
    found = [
        rows.Row(
            "variants",
            {"variant": name, "family": family, "direction": direction, "length": length},
            times * length**power,
            temporary_bytes=int(1e6 * times),
        )
        for name, family, power in cases
        for direction, times in ((FORWARD, 1.0), (BOTH, 3.0))
        for length in (16, 32, 64)
        if length < 64 or name == "linear"
    ]
    drawn = {name: draw(found) for name, draw in variants_report.QUESTIONS.items()}
    dots = {
        name: sorted(
            float(line.get_xdata()[0])
            for axes in figure.axes
            for line in axes.lines
            if line.get_marker() == "o"
        )
        for name, figure in drawn.items()
    }
    assert dots["time"] == [32.0, 96.0, 1024.0, 3072.0] and dots["memory"] == [1, 1, 3, 3]
    assert dots["growth"] == pytest.approx([1, 1, 2, 2])
    assert "at 32 positions? Milliseconds" in drawn["time"].get_suptitle()
    labels = [x.get_text().strip() for axes in drawn["time"].axes for x in axes.get_yticklabels()]
    assert labels == ["scores of a pair", "dot", "sums and states", "linear"]


def test_names_at_the_ends_of_lines_do_not_overlap():
    spread = direct_labels.spread([0.1, 0.5, 0.5, 0.52, 0.99, 1.0], 0.05)
    assert all(after - before >= 0.05 - 1e-9 for before, after in itertools.pairwise(spread))
    assert spread[0] == 0.1 and spread[-1] <= 1
    assert sum(spread[1:4]) / 3 == pytest.approx((0.5 + 0.5 + 0.52) / 3)


def test_reasons_are_told_once():
    found = [
        rows.Row("variants", {"length": 8}),
        rows.Row("variants", {"length": 1024}, not_measured={"ours": "a"}),
        rows.Row("variants", {"length": 2048}, not_measured={"ours": "a"}),
    ]
    assert variants_report.reasons(found) == ["1,024, 2,048: a"]


@pytest.mark.parametrize("name", attention_cases.CASES)
@pytest.mark.parametrize("length", [48, 300])
def test_visible_pairs_are_those_that_the_mask_shows(name, length):
    queries = 1 if name == "decode" else length
    job = attention_cases.Job(name, name, length, "float32", "forward", 2, queries, 2, 2, 4)
    x = attention_cases.draw(attention_cases.undirected(job))
    mask = attention_cases.CASES[name].request(x).get("mask", masks.full)
    b, i, j = jnp.ogrid[:2, :queries, :length]
    shown = np.broadcast_to(mask(b, 0, i, j), (2, queries, length))
    assert attention_cases.visible_pairs(job) == shown.sum()
    by_pair = {"forward": 4, BOTH: 12} if name != "additive" else {}
    for direction in ("forward", BOTH, "hvp"):
        own = by_pair.get(direction)
        expected = own and own * shown.sum() * 2 * 4
        assert attention_cases.flops(job._replace(direction=direction)) == expected
