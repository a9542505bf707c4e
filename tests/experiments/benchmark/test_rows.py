"""The one form of results: pairs of times become rows, and files hold what was measured."""

import json

import pytest

from experiments.benchmark import machine, rows
from experiments.common.timing import Ratio, Times

OURS = Times(9.0, (0.001, 0.002, 0.004), (5, 7, 6))
TORCH = Times(7.0, (0.002, 0.008, 0.012))
COMPILED = Times(8.0, (0.003, 0.002, 0.006))


@pytest.fixture
def results(monkeypatch):
    """Results of a machine whose peak is 4, then 8 GFLOP/s."""
    peaks = iter((4.0, 8.0))
    monkeypatch.setattr(rows, "matrix_peak", lambda: next(peaks))
    return rows.start("training")


def row(**changes):
    times = {"ours": OURS, "torch": TORCH, "torch_compile": COMPILED}
    return rows.from_times("training", {"model": "tiny", "batch": 4}, times)._replace(**changes)


def test_a_row_pairs_the_calls_of_a_round():
    found = row()
    assert (found.ours_ms, found.faults, found.repeats) == (2.0, 6, 3)
    assert found.peer_ms == {"torch": 8.0, "torch_compile": 3.0}
    assert found.ratio["torch"] == Ratio(median=3.0, lowest=2.0, highest=4.0)
    assert found.fastest_peer == "torch_compile"
    assert found.to_fastest_peer == Ratio(median=1.5, lowest=1.0, highest=3.0)
    assert found.facts == {"first_call_seconds": 9.0}


def test_a_row_without_peers_or_without_ours_has_no_ratio():
    alone = rows.from_times("training", {}, {"ours": OURS})
    assert alone.ratio == {} and alone.to_fastest_peer is None and alone.ours_ms == 2.0
    peer = rows.from_times("training", {}, {"torch": TORCH})
    assert peer.ours_ms is None and peer.ratio == {} and peer.peer_ms == {"torch": 8.0}
    assert peer.to_fastest_peer is None and peer.facts == {}


def test_calls_are_measured_in_turn():
    made = []
    calls = {name: lambda name=name: made.append(name) for name in ("ours", "torch")}
    found = rows.measure("training", {"model": "none"}, calls, repeats=2)
    assert made == ["ours", "torch"] * 2 + ["torch", "ours"]
    assert found.repeats == 2 and found.ratio["torch"].lowest <= found.ratio["torch"].highest


def test_the_share_of_the_peak_is_of_the_higher_of_both_measurements(results):
    results = rows.added(results, row(flops=4e6))
    assert results.rows[0].share_of_peak == pytest.approx(0.5)  # 2 GFLOP/s of 4
    results = rows.finished(results)
    assert results.peak_gflops == (4.0, 8.0)
    assert results.rows[0].share_of_peak == pytest.approx(0.25)
    assert rows.added(results, row()).rows[1].share_of_peak is None


def test_a_file_gives_back_what_was_written(results, tmp_path):
    path = tmp_path / "out.json"
    missing = rows.Row("training", {"model": "x"}, not_measured={"torch": "not installed"})
    results = rows.added(results, row(flops=4e6, temporary_bytes=10), missing)
    rows.write(results, str(path))
    assert rows.read(path) == results
    found = json.loads(path.read_text())
    assert list(found) == ["form", "suite", "environment", "peak_gflops", "rows"]
    assert found["form"] == 1 and found["rows"][1]["ours_ms"] is None
    rows.write(results, None)  # no file is asked for


def test_another_form_is_refused(tmp_path):
    path = tmp_path / "old.json"
    path.write_text('{"suite": "training", "results": {}}')
    with pytest.raises(ValueError, match=r"^old.json must be results of form 1; got None"):
        rows.read(path)


def test_a_row_is_found_by_its_settings():
    assert row().matches({"model": ("tiny", "base"), "batch": (4,)}) and row().matches({})
    assert not row().matches({"model": ("base",)})
    assert not row().matches({"length": (None,)})


def test_the_costs_of_a_row_are_told_as_far_as_known():
    whole = row(share_of_peak=0.253, temporary_bytes=2_000_000)
    assert rows.costs(whole) == "25 % of the matrix peak, 6 page faults, 2.0 MB temporary"
    refused = rows.Row("training", {"model": "x"}, not_measured={"ours": "skipped: needs 9 GB"})
    assert rows.costs(refused) == ""
    assert rows.reasons(refused) == ["ours skipped: needs 9 GB"]


def test_the_environment_names_no_folder(monkeypatch):
    words = ["/a/b/bench", "--suite=training", "--output=x.json", "--data_dir=/home/somebody"]
    monkeypatch.setattr(machine.sys, "argv", words)
    found = machine.environment()
    assert found["command"] == ["--suite=training"]
    assert found["cores"] >= 1 and found["jax"].startswith("0.")
    assert "somebody" not in json.dumps(found)


def test_the_matrix_peak_is_that_of_the_fastest_product(monkeypatch):
    """On a clock that calls move: 2 n^3 operations in 1 ms at best."""
    now = [0.0]

    def taking(*seconds):
        left = list(seconds)

        def call():
            now[0] += left.pop(0) if len(left) > 1 else left[0]

        return call

    products = {"jax": taking(5.0, 0.004, 0.001, 0.3), "torch": taking(5.0, 0.002)}
    monkeypatch.setattr(machine.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(machine, "_products", lambda n: products)
    assert machine.matrix_peak((100,), 0.3) == pytest.approx(2e6 / 1e-3 / 1e9)


def test_a_real_machine_has_a_peak():
    assert machine.matrix_peak((64,), 0.01) > 0.01
