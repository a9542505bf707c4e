"""Numbers of a comparison from run folders, and a page that needs nothing else."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from attention_jax.analysis.plots import style
from attention_jax.data import tasks
from attention_jax.data.tokenizer import Tokenizer
from experiments.common.experiment import find
from experiments.compare import plots, report, results, scores, summary
from experiments.compare.candidates import LeftOut
from experiments.compare.runs import Run, costs_file
from experiments.compare.scores import Options

OPTIONS = Options("parameters", "exact_match", 0.95, 2, ["0.001", "0.01"])
PLAN = {
    "flags": {},
    "width": 16,
    "parameters": 1000,
    "steps": 20,
    "flops_of_step": 10.0,
    "flops": 200.0,
    "seconds_of_step": None,
}


def scorer_of(task, vocabulary):
    """That of translations of at most 32 tokens."""
    experiment = find("translation")
    data = experiment.config.data._replace(max_length=32)
    return experiment.scorer(experiment.config._replace(data=data), task, vocabulary)


@pytest.fixture(scope="module")
def task():
    return tasks.get(
        "reverse",
        vocabulary=9,
        max_length=6,
        longer_length=9,
        train_size=50,
        validation_size=5,
        test_size=40,
    )


@pytest.fixture(scope="module")
def vocabulary(task):
    texts = [text for e in task.train for text in (e.source, e.references[0])]
    return Tokenizer.learn(texts, kind="word")


def fake(run, task, *, right, loss=1.0, picture=None):
    """A run that is done: `right` is the share of sentences that it translates."""
    run.folder.mkdir(parents=True)
    draw = np.random.default_rng(run.seed)
    translations = {
        name: [e.references[0] if draw.random() < right else "wrong" for e in examples]
        for name, examples in task.tests.items()
    }
    rows = [
        {
            "step": step,
            "split": "validation",
            "loss": loss + 2 / step,
            "seconds": step / 2,
            "exact_match": right * step / 20,
        }
        for step in (10, 20)
    ]
    rows.insert(0, {"step": 5, "split": "train", "loss": 9.0, "seconds": 1.0})
    focus = {"effective": 2.0 + run.seed, "sharpest": 1.5, "source": 6.0} if picture else None
    result = {
        "steps": 20,
        "target_tokens": 500,
        "seconds": 10.0 + run.seed,
        "peak_memory_bytes": 2e8,
        "focus": focus,
    }
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run.folder / "translations.json").write_text(json.dumps(translations))
    (run.folder / "result.json").write_text(json.dumps(result))
    if picture:
        (run.folder / "attention_1.png").write_bytes(picture)


COSTS = [
    {
        "length": length,
        "training_tokens_per_second": 1e4 / length,
        "compile_seconds": 2.0,
        "training_tokens_per_second_range": [9e3 / length, 2e4 / length],
        "one_sentence_seconds": 1e-3 * length,
        "many_sentences_seconds": 2e-3 * length,
        "temporary_bytes": 1000 * length,
    }
    for length in (8, 16)
]


@pytest.fixture(scope="module")
def found(tmp_path_factory, task, vocabulary):
    """Numbers of three candidates with two seeds: good, bad, and one that failed."""
    folder = tmp_path_factory.mktemp("comparison")
    runs = []
    for name, right in (("good", 0.9), ("bad", 0.1)):
        parent = folder / "runs" / name
        own = [Run(name, "0.001", 0, parent), Run(name, "0.01", 0, parent)]
        own.append(Run(name, "0.01", 1, parent))
        for one in own:
            loss = 1.0 if one.rate == "0.01" else 3.0
            fake(one, task, right=right, loss=loss, picture=b"attention of " + name.encode())
        runs += own
    lost = Run("lost", "0.001", 0, folder / "runs" / "lost")
    lost.parent.mkdir(parents=True)
    lost.log.write_text("step 3\nerror: The loss <b>diverged</b>.\n")
    (folder / "costs").mkdir()
    costs_file(folder, "good").write_text(json.dumps(COSTS))
    return results.collect(
        [*runs, lost],
        {name: PLAN for name in ("good", "bad", "lost")},
        [LeftOut("transformer-none", "It is its attention.")],
        scorer_of(task, vocabulary),
        folder,
        OPTIONS,
    )


def test_the_rate_of_the_lowest_validation_loss_counts(found):
    assert found["candidates"]["good"]["learning_rate"] == 0.01
    counting = {run["name"]: run["counts"] for run in found["runs"]}
    assert counting == {
        "good rate 0.001 seed 0": False,
        "good rate 0.01 seed 0": True,
        "good rate 0.01 seed 1": True,
        "bad rate 0.001 seed 0": False,
        "bad rate 0.01 seed 0": True,
        "bad rate 0.01 seed 1": True,
        "lost rate 0.001 seed 0": False,
    }


def test_scores_are_means_of_the_runs_with_intervals(found, task):
    score = found["tests"]["test"]["scores"]["good"]
    runs = [x for x in found["runs"] if x["candidate"] == "good" and x["counts"]]
    shares = []
    for one in runs:
        translated = json.loads((Path(one["folder"]) / "translations.json").read_text())["test"]
        hits = [t in e.references for t, e in zip(translated, task.tests["test"], strict=True)]
        shares.append(100 * np.mean(hits))
    assert score["values"] == pytest.approx(shares)
    # Over runs and items: the variance of the runs' mean, and that of a choice of sentences.
    n, mean = 40, np.mean(shares)
    errors = [share * (100 - share) / n for share in shares]
    narrow, wide = np.var(shares, ddof=1) / 2, np.var(shares, ddof=1) / 2 + np.mean(errors)
    logit = np.log([x / (100 - x) for x in (score["low"], mean, score["high"])])
    half = (logit[2] - logit[0]) / 2 * mean * (100 - mean) / 100
    assert logit[1] == pytest.approx((logit[0] + logit[2]) / 2)
    assert half / 12.8 < np.sqrt(wide) and half / 1.9 > np.sqrt(narrow)


def test_pairs_are_ranked_only_where_intervals_are_apart(found):
    (pair,) = found["tests"]["test"]["pairs"]
    assert (pair["first"], pair["second"]) == ("good", "bad")
    assert pair["difference"] > 50 and pair["p_value"] < 0.01
    said = summary.verdicts(found["tests"]["test"])[0]
    assert ("good is above bad" in said) == pair["apart"]
    assert pair["margin"]["low"] <= pair["difference"] <= pair["margin"]["high"]
    overlapping = {**pair, "apart": False}
    test = {**found["tests"]["test"], "pairs": [overlapping]}
    assert "no ranking, their intervals overlap" in summary.verdicts(test)[0]


def test_every_sentence_is_in_one_bucket_of_its_length(found, task):
    buckets = found["lengths"]["buckets"]
    assert sum(b["sentences"] for b in buckets) == sum(map(len, task.tests.values()))
    assert found["lengths"]["longest_in_training"] == 6
    assert {b["beyond"] for b in buckets if b["low"] > 6} == {True}
    assert all(b["high"] <= 6 for b in buckets if not b["beyond"])
    weighted = sum(b["sentences"] * b["scores"]["good"]["mean"] for b in buckets)
    total = sum(
        len(task.tests[name]) * test["scores"]["good"]["mean"]
        for name, test in found["tests"].items()
    )
    assert weighted == pytest.approx(total)


@pytest.mark.parametrize("lengths", [[1, 1, 1], [1, 2, 3, 4, 5, 6, 7, 8, 9], [9, 9, 2], [8]])
def test_buckets_hold_all_lengths_once_and_never_cross_the_edge(lengths):
    buckets = scores.length_buckets(np.array(lengths), longest=6)
    for length in lengths:
        assert sum(low <= length <= high for low, high in buckets) == 1
    assert all(high <= 6 or low > 6 for low, high in buckets)


def test_a_failed_run_is_shown_with_its_reason(found):
    lost = found["runs"][-1]
    assert (lost["status"], lost["reason"]) == ("failed", "The loss <b>diverged</b>.")
    for text in (summary.table(found), report.page(found, {})):
        assert "lost rate 0.001 seed 0 failed" in text and "diverged" in text
        assert "transformer-none is left out" in text
    assert "<b>diverged" not in report.page(found, {})


def test_one_run_gives_a_warning_and_no_ranking(found):
    alone = json.loads(json.dumps(found))
    for name in ("good", "bad"):
        alone["candidates"][name]["runs"] = 1
        for test in alone["tests"].values():
            test["scores"][name] |= {"low": None, "high": None, "count": 1}
            test["pairs"][0]["apart"] = False
    text = summary.table(alone)
    assert "with one run no interval can be given (good, bad)" in text
    assert "no ranking, for one run has no interval" in text and "(one run)" in text


@pytest.mark.slow
def test_the_page_needs_nothing_but_itself(found, tmp_path):
    report.write(found, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(found))
    links = re.findall(r'(?:src|srcset|href|url)\s*[=(]\s*"?([^"\s>]*)', page)
    assert links.pop(0) == "data:,"  # no icon
    assert links and all(link.startswith("data:image/png;base64,") for link in links)
    assert page.count("prefers-color-scheme: dark") == 1 + len(plots.DRAWINGS)
    for name in plots.DRAWINGS:
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_claim_is_made_only_where_intervals_bear_it():
    def score(mean, half):
        return {"mean": mean, "low": mean - half, "high": mean + half, "count": 3}

    def bucket(low, high, beyond, **scores):
        return {"low": low, "high": high, "beyond": beyond, "scores": scores}

    buckets = [
        bucket(1, 3, False, a=score(99, 1), b=score(99, 1)),
        bucket(4, 6, False, a=score(50, 5), b=score(95, 9)),
        bucket(8, 8, True, a=score(52, 9), b=score(3, 2)),
    ]
    slow = {"training_tokens_per_second": 100.0, "training_tokens_per_second_range": [50.0, 250.0]}
    costs = [COSTS, [{**row, **slow} for row in COSTS]]
    found = {
        "candidates": {"a": {}, "b": {}},
        "tests": {},
        "lengths": {"buckets": buckets},
        "costs": dict(zip("ab", costs, strict=True)),
    }
    cost_a, cost_b, memory_a, memory_b = summary.claims(found)
    assert "1,250 tokens a second of training at 8 tokens, 625 at 16 (0.50 of it)" in cost_a
    assert cost_b.endswith("; 0.16 (0.04 to 0.44) of the speed of a in training")
    assert (
        "52.00 (43.00 to 61.00) at 8 tokens, longer than any in training: it falls within"
        in memory_a
    )
    assert memory_a.endswith("no change beyond them that intervals would show")
    assert memory_b.endswith("intervals would show, it falls beyond them")


def test_focus_is_the_mean_of_the_runs(found):
    own = found["candidates"]["good"]["focus"]
    assert own["effective"]["values"] == [2.0, 3.0] and own["effective"]["mean"] == 2.5
    (line,) = [x for x in summary.claims(found) if x.startswith("focus, good")]
    half = 12.7062 * 0.5 / (2.5 - 1)
    low, high = 1 + 1.5 * np.exp(-half), 1 + 1.5 * np.exp(half)
    assert f"draws on 2.50 ({low:.2f} to {high:.2f}) of 6.0 source tokens" in line
    assert "on 1.50 (1.50 to 1.50)" in line
    assert found["candidates"]["lost"]["focus"] is None


@pytest.mark.parametrize("row", [COSTS[0], {**COSTS[0], "training_tokens_per_second_range": None}])
def test_a_cost_has_the_range_of_its_calls(row):
    row = {name: x for name, x in row.items() if x is not None}
    drawn = summary.cost(row, "training_tokens_per_second", unit=2.0)
    assert drawn["mean"] == 2 * 1e4 / 8
    assert drawn["low"] in (2 * 9e3 / 8, None) and (drawn["low"] is None) == (len(row) < 7)


def test_curves_are_means_at_the_same_step(found):
    points = found["curves"]["good"]
    assert [point["step"] for point in points] == [10, 20]
    assert points[1]["loss"]["mean"] == pytest.approx(1.1)
    assert points[1]["seconds"]["mean"] == 10.0


def test_curves_of_shares_are_drawn_in_percent():
    score = {"mean": 0.5, "low": None, "high": None}
    point = {"step": 10, "seconds": {"mean": 2.0}, "exact_match": score}
    found = {
        "curves": {"a": [point]},
        "candidates": {"a": {}},
        "tests": {},
        "options": {"score": "exact_match", "confidence": 0.95},
    }
    figure = plots.curves(found, style.LIGHT)
    assert [axes.get_title(loc="left") for axes in figure.axes] == 2 * [
        "validation: exact match, %"
    ]
    assert [axes.lines[0].get_xydata().tolist() for axes in figure.axes] == [[[10, 50]], [[2, 50]]]


def test_nothing_trained_is_a_report_too(task, vocabulary, tmp_path):
    one = Run("good", "0.1", 0, tmp_path / "runs")
    scorer = scorer_of(task, vocabulary)
    found = results.collect([one], {"good": PLAN}, [], scorer, tmp_path, OPTIONS)
    report.write(found, tmp_path)
    assert "good rate 0.1 seed 0 missing: it was not started" in summary.table(found)
