"""Tables of the documentation: the committed page is what the command makes of the results."""

import pytest

from experiments.benchmark import pages, rows
from experiments.benchmark.attention_pairs import Pair
from experiments.benchmark.rows import Results, Row
from experiments.common.timing import Ratio
from tests.support.paths import ROOT

PAGES, RESULTS = ROOT / "docs/results", ROOT / "experiments/results"
FILES = [
    *RESULTS.glob("*_speed*.json"),
    RESULTS / "weak_scaling.json",
    RESULTS / "mesh_memory.json",
    RESULTS / "cache_bytes.json",
]
RATIO = Ratio(1.5, 1.25, 2.0)


@pytest.mark.parametrize(
    ("name", "first"), [("speed", "training"), ("several_devices", "weak_data")]
)
def test_the_committed_page_is_what_the_command_makes(name, first):
    """Else: python -m experiments.benchmark.pages --page=docs/results/NAME.md."""
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert f"<!-- table: {first} -->" in text
    assert pages.rewritten(text, RESULTS) == text


@pytest.mark.parametrize("path", sorted(FILES), ids=lambda path: path.name)
def test_committed_results_have_the_one_form(path):
    results = rows.read(path)
    assert results.rows and {row.suite for row in results.rows} == {results.suite}
    assert rows.to_text(results) == path.read_text(encoding="utf-8")


def test_tables_are_replaced_and_prose_stays(tmp_path):
    results = Results("training", {}, (), (Row("training", {"model": "vit"}, ours_ms=2.0),))
    rows.write(results, str(tmp_path / "training_speed.json"))
    text = "before\n<!-- table: training -->\nold\n<!-- end: training -->\nafter\n"
    lines = pages.rewritten(text, tmp_path).splitlines()
    assert (lines[0], lines[-1], "old" in lines) == ("before", "after", False)
    assert lines[4].startswith("| Vision Transformer, 3 layers, width 64 | 2.0 | - | - |")
    assert pages.rewritten("\n".join(lines) + "\n", tmp_path).splitlines() == lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table: weather -->\n<!-- end: weather -->", "must be one of training.*got weather"),
        ("<!-- table: start -->\n", "must be followed by `<!-- end: start -->`"),
    ],
)
def test_a_place_that_cannot_be_filled_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        pages.rewritten(text, tmp_path)


def test_a_training_row_shows_ratios_limit_and_cost():
    row = Row(
        "training",
        {"model": "nanogpt_small"},
        ours_ms=1234.56,
        ratio={"torch": RATIO},
        faults=12_000.0,
        temporary_bytes=47_145_860,
        share_of_peak=0.456,
        facts={"share_of_limit": 0.7},
    )
    (*_, line) = pages.training(Results("training", {}, (), (row,)))
    cells = "1,234.6 | 1.50 (1.25 to 2.00) | - | 70 % | 46 % | 12,000 | 47"
    assert line == f"| language model, 4 layers, width 128 | {cells} |"


def test_pairs_are_told_by_each_setting():
    ratio = {"torch_sdpa": RATIO, "torch_flex": Ratio(9.0, 9.0, 9.0)}
    case = Pair("causal", 32, 16, "self", 4)._asdict()
    row = Row("pairs", case, 1.0, {"torch_sdpa": 1.5, "torch_flex": 9.0}, ratio)
    half = row._replace(case=case | {"length": 64}, ratio=ratio | {"torch_sdpa": Ratio(0.5, 0, 1)})
    lines = pages.pairs(Results("pairs", {}, (), (row, half)))
    assert lines[2] == "| all | 0.87 (0.50) | - |"
    assert "| length 32 | 1.50 (1.50) | - |" in lines and "| mask full | - | - |" in lines


def test_an_attention_row_shows_each_peer():
    case = {"case": "causal", "batch": 2, "length": 1024, "direction": "forward"}
    row = Row("attention", case, 16.0, ratio={"jax_nn": RATIO}, temporary_bytes=3_000_000)
    lines = pages.attention(Results("attention", {}, (), (row, row._replace(ours_ms=None))))
    assert lines[2:] == ["| causal, 2 x 1,024, forward | 16.0 | 1.50 | - | - | - | 3 |"]


def test_a_start_row_shows_seconds():
    facts = {"lowest_ms": 900.0, "highest_ms": 1500.0}
    case = {"program": "first step", "sentences": 4, "cache": "warm"}
    row = Row("start", case, ours_ms=1000.0, facts=facts)
    assert pages.start(Results("start", {}, (), (row,)))[2] == (
        "| first step, warm | 1.00 | 0.90 to 1.50 |"
    )
