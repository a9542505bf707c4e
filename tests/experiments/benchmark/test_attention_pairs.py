"""The covering array of the benchmark of attention, and rows of it beside PyTorch."""

import importlib.util
import itertools
import json

import pytest

from experiments.benchmark import attention_pairs

NEEDS_TORCH = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed: the extra `peers`"
)


def test_every_pair_of_settings_is_in_a_row():
    rows = attention_pairs.covering_array(attention_pairs.SETTINGS, seed=0)
    assert rows == attention_pairs.covering_array(attention_pairs.SETTINGS, seed=0)
    columns = list(attention_pairs.SETTINGS.values())
    for (a, xs), (b, ys) in itertools.combinations(enumerate(columns), 2):
        assert {(row[a], row[b]) for row in rows} == set(itertools.product(xs, ys))
    assert len(rows) < 100
    assert len(attention_pairs.pairs()) == 2 * len(rows)


def test_a_summary_counts_what_is_behind():
    rows = [case._asdict() | {"batch": 1, "queries": 8} for case in attention_pairs.pairs((32,))]
    rows = [row | {"ratio": ratio} for row, ratio in zip(rows, (2.0, 0.5, 1.0), strict=False)]
    found = attention_pairs.summary(rows)
    assert found["all"]["geometric_mean"] == pytest.approx(1.0)
    assert found["all"]["below_0.9"] == len(found["behind"]) == 1


@NEEDS_TORCH
@pytest.mark.slow
@pytest.mark.parametrize("mask", attention_pairs.SETTINGS["mask"])
@pytest.mark.parametrize("kind", attention_pairs.SETTINGS["kind"])
def test_both_sides_compute_the_same(mask, kind, tmp_path, monkeypatch):
    from experiments.benchmark import attention_pairs_torch as peers

    monkeypatch.setattr(attention_pairs, "TOKENS", 64)
    case = attention_pairs.Pair(mask, 32, 16, kind, 4)
    row = attention_pairs.measure(case, peers, gigabytes=1.0, flex=False)
    assert row["ours"]["seconds"] > 0 and attention_pairs.is_of(row, case)
    if mask != "softcap":
        assert row["difference"] < 1e-5 and row["ratio"] == row["torch_sdpa"]["median"]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps({"rows": [row]}))
    assert attention_pairs.known_rows(str(file)) == [json.loads(json.dumps(row))]
