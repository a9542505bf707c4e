"""The covering array of the benchmark of attention, and rows of it beside PyTorch."""

import importlib.util
import itertools

import pytest

from experiments.benchmark import attention_pairs, rows
from experiments.common.timing import Ratio

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
    cases = attention_pairs.pairs((32,))[:3]
    found = attention_pairs.summary(
        [
            rows.Row(
                "pairs", case._asdict(), 1.0, {"torch_sdpa": x}, {"torch_sdpa": Ratio(x, x, x)}
            )
            for case, x in zip(cases, (2.0, 0.5, 1.0), strict=True)
        ]
    )
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
    assert row.ours_ms
    if mask != "softcap":
        assert row.facts["difference"] < 1e-5 and row.fastest_peer == "torch_sdpa"
    file = tmp_path / "rows.json"
    rows.write(rows.Results("pairs", {}, (1.0,), (row,)), str(file))
    assert rows.resumed("pairs", str(file)).rows == (row,)
