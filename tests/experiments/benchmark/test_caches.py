"""Bytes of caches, and times of tokens: rows, tables and figures of small sizes."""

import subprocess
import sys

import pytest

from experiments.benchmark import caches, rows, token_speed
from experiments.benchmark.rows import Results, Row
from tests.support.paths import ROOT

COMMITTED = ROOT / "experiments/results/cache_bytes.json"


def test_the_committed_bytes_are_those_of_the_caches():
    """Some of them; else: python -m experiments.benchmark.caches."""
    found = {(row.case["variant"], row.case["length"]): row for row in rows.read(COMMITTED).rows}
    for name in ("alibi", "gated_delta", "latent", "coverage", "cosformer"):
        for row in caches.measure(name, (1024, 65_536)):
            assert found[name, row.case["length"]] == row


def test_variants_that_hold_as_much_share_a_line(tmp_path):
    names = ("alibi", "delta", "scaled_dot", "coverage", "nystromformer")
    found = tuple(row for name in names for row in caches.measure(name, (16, 64)))
    assert found[-1].not_measured["ours"].startswith("`variant` must look back")
    table = caches.lines(Results("caches", {}, (), found))
    assert table[2:] == [
        "| delta | 149,504 | 149,504 | 0 |",
        "| alibi, scaled_dot | 65,536 | 262,144 | 4,096 |",
        "| coverage; of a source | 66,048 | 264,192 | 4,128 |",
    ]
    path = tmp_path / "caches.png"
    caches.plot(found, str(path))
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_tokens_are_timed_in_turn():
    found = tuple(token_speed.measure(("scaled_dot", "linear"), 32, repeats=3))
    assert [row.case["variant"] for row in found] == ["scaled_dot", "linear"]
    assert all(row.ours_ms and row.repeats == 3 for row in found)
    missing = Row("tokens", {"variant": "linear", "length": 64})
    lines = token_speed.lines(Results("tokens", {}, (), (*found, missing)))
    assert lines[0] == "| microseconds of a token | after 32 | after 64 |"
    assert lines[3].startswith("| linear | ") and lines[3].endswith(" | - |")
    axes = token_speed.plot(Results("tokens", {}, (), (*found, missing))).axes[0]
    assert [x.get_label() for x in axes.get_lines()] == ["scaled_dot", "linear"]
    assert list(axes.get_lines()[1].get_xdata()) == [32]


@pytest.mark.slow
@pytest.mark.parametrize("program", ["caches", "token_speed"])
@pytest.mark.parametrize(
    ("asked", "said"), [("--lengths=one", "must be lengths"), ("--variants=weather", "weather")]
)
def test_what_there_is_not_is_refused_in_one_line(program, asked, said):
    command = [sys.executable, "-P", "-m", f"experiments.benchmark.{program}", asked]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1
