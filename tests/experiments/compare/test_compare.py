"""Comparisons: numbers from run folders, a page that needs nothing else, runs that go on."""

import json
import re
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from attention_jax import variants
from attention_jax.data import tasks
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.evaluation import significance
from attention_jax.models import image_rnn, language, seq2seq_rnn
from attention_jax.nn import patches, recurrent
from experiments import contests
from experiments.common import experiment
from experiments.compare import plan, plots, report, results, scoring, summary
from experiments.compare.results import Options, Run
from tests.support.scripts import ENVIRONMENT, ROOT, TINY, run, scores_of

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
    results.costs_file(folder, "good").write_text(json.dumps(COSTS))
    return results.collect(
        [*runs, lost],
        {name: PLAN for name in ("good", "bad", "lost")},
        [plan.LeftOut("transformer-none", "It is its attention.")],
        scoring.of_translations(task, vocabulary, max_length=32),
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
    want = significance.mean_interval(score["values"])
    assert (score["mean"], score["low"], score["high"]) == pytest.approx(want[:3])


def test_pairs_are_ranked_only_where_intervals_are_apart(found):
    (pair,) = found["tests"]["test"]["pairs"]
    assert (pair["first"], pair["second"]) == ("good", "bad")
    assert pair["difference"] > 50 and pair["p_value"] < 0.01
    said = summary.verdicts(found["tests"]["test"])[0]
    assert ("good is above bad" in said) == pair["apart"]
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
    buckets = results.length_buckets(np.array(lengths), longest=6)
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
        "lengths": {"buckets": buckets},
        "costs": dict(zip("ab", costs, strict=True)),
    }
    cost_a, cost_b, memory_a, memory_b = summary.claims(found)
    assert "1,250 tokens a second of training at 8 tokens, 625 at 16 (0.50 of it)" in cost_a
    assert cost_b.endswith("; 0.16 (0.04 to 0.44) of the speed of a in training")
    assert "52.00 ± 9.00 at 8 tokens, longer than any in training: it falls within" in memory_a
    assert memory_a.endswith("no change beyond them that intervals would show")
    assert memory_b.endswith("intervals would show, it falls beyond them")


def test_focus_is_the_mean_of_the_runs(found):
    own = found["candidates"]["good"]["focus"]
    assert own["effective"]["values"] == [2.0, 3.0] and own["effective"]["mean"] == 2.5
    (line,) = [x for x in summary.claims(found) if x.startswith("focus, good")]
    assert "draws on 2.50 ± 6.35 of 6.0 source tokens" in line and "on 1.50 ± 0.00" in line
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


def test_nothing_trained_is_a_report_too(task, vocabulary, tmp_path):
    one = Run("good", "0.1", 0, tmp_path / "runs")
    scorer = scoring.of_translations(task, vocabulary, max_length=32)
    found = results.collect([one], {"good": PLAN}, [], scorer, tmp_path, OPTIONS)
    report.write(found, tmp_path)
    assert "good rate 0.1 seed 0 missing: it was not started" in summary.table(found)


def test_a_grid_is_every_model_with_every_attention_it_can_have():
    candidates, left = plan.candidates(
        ["transformer", "gru", "lstm:none"], ["dot", "alibi", "none"], {}, contests.translation()
    )
    names = [candidate.name for candidate in candidates]
    assert names == ["transformer-dot", "transformer-alibi", "gru-dot", "gru-none", "lstm-none"]
    assert candidates[2].flags == {"model": "rnn", "attention": "dot", "cell": "gru"}
    assert [x.name for x in left] == ["transformer-none", "gru-alibi"]
    assert "score of one query and one key" in left[1].reason


@pytest.mark.parametrize("name", ["language", "memory"])
def test_language_models_have_what_looks_back(name):
    candidates, left = plan.candidates(
        ["transformer", "gru", "gru:linear", "lstm:none"],
        ["alibi", "linformer", "coverage"],
        {},
        contests.EXPERIMENTS[name](),
    )
    names = [candidate.name for candidate in candidates]
    assert names == ["transformer-alibi", "gru-alibi", "gru-linear", "lstm-none"]
    assert [x.name for x in left] == [
        "transformer-linformer",
        "transformer-coverage",
        "gru-linformer",
        "gru-coverage",
    ]
    assert left[0].reason.endswith("linformer cannot look back only.")
    with pytest.raises(ValueError, match="one head. `groups` must divide `kv_heads`"):
        plan.candidates(["gru:grouped_query"], [], {}, contests.EXPERIMENTS[name]())


def test_networks_that_read_pictures_have_what_pools():
    candidates, left = plan.candidates(
        ["transformer", "gru", "cnn"],
        ["gated", "coverage", "alibi", "none"],
        {},
        contests.images(),
    )
    names = [candidate.name for candidate in candidates]
    assert names == [
        "transformer-gated",
        "transformer-coverage",
        "transformer-alibi",
        "gru-gated",
        "gru-coverage",
        "gru-none",
        "cnn-none",
    ]
    assert [x.name for x in left] == [
        "transformer-none",
        "gru-alibi",
        "cnn-gated",
        "cnn-coverage",
        "cnn-alibi",
    ]
    assert "alibi does not serve between two sequences" in left[1].reason


RECURRENT = {
    "translation": lambda config: seq2seq_rnn.Seq2SeqRNN(config, rngs=nnx.Rngs(0)),
    "images": lambda config: image_rnn.ImageRNN(
        patches.ImageConfig(4, 4, 1, 2), config, rngs=nnx.Rngs(0)
    ),
    "language": lambda config: language.RNNLM(config, rngs=nnx.Rngs(0)),
}


@pytest.mark.sampled
@pytest.mark.parametrize("case", variants.names())
@pytest.mark.parametrize("experiment", RECURRENT)
def test_an_rnn_is_left_out_where_it_cannot_be_built(experiment, case):
    config = recurrent.RNNConfig(vocabulary_size=8, width=4, layers=1, attention=case)
    reason = contests.EXPERIMENTS[experiment]().why_not("rnn", case)
    with pytest.raises(ValueError) if reason else nullcontext():
        nnx.eval_shape(lambda: RECURRENT[experiment](config))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "translation"),
        (["--experiment=images"], "images"),
        (["--experiment", "images", "--seeds=2"], "images"),
        (["--seeds", "2", "-experiment", "images"], "images"),
        (["--experiment=images", "--experiment", "translation"], "translation"),
        (["--folder", "experiment", "--experiment=images"], "images"),
        (["--folder", "experiment", "images"], "translation"),
        (["--flagfile=FILE", "--seeds=2"], "images"),
        (["--experiment"], ""),
    ],
)
def test_the_experiment_is_known_before_flags_are(arguments, named, monkeypatch, tmp_path):
    defined = []
    monkeypatch.setattr(
        contests.config_flags, "define", lambda config, module: defined.append(type(config))
    )
    (tmp_path / "own.flags").write_text("--experiment=images\n")
    arguments = [x.replace("FILE", str(tmp_path / "own.flags")) for x in arguments]
    assert contests.named_in(arguments) == named
    assert defined == ([type(experiment.find(named).config)] if named else [])


def test_two_files_of_one_name_are_not_one_candidate(tmp_path):
    files = [tmp_path / folder / "mine.py" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_text(
            "from attention_jax import scores\nfrom attention_jax import from_score\n\n"
            "def mine():\n    return from_score(lambda params: scores.dot)\n"
        )
    candidates, _ = plan.candidates(["gru"], [str(files[0])], {}, contests.translation())
    assert candidates[0].name == "gru-mine" and candidates[0].flags["attention_file"] == str(
        files[0]
    )
    with pytest.raises(ValueError, match="must differ in name; two of them are gru-mine"):
        plan.candidates(["gru"], [str(file) for file in files], {}, contests.translation())


def test_without_attentions_each_model_has_its_own():
    candidates, _ = plan.candidates(["transformer", "gru"], [], {}, contests.translation())
    assert [x.name for x in candidates] == ["transformer-scaled_dot", "gru-additive"]


@pytest.mark.parametrize(
    ("models", "attentions", "message"),
    [
        (["elman"], [], "`--models` must be among transformer, gru, lstm; got 'elman'"),
        (["gru"], ["telepathy"], "must be one of"),
        (["transformer:none"], [], "got transformer:none. A Transformer is its attention."),
        (["transformer"], ["none"], "leave nothing to compare. A Transformer is its attention."),
        ([], ["dot"], "leave nothing to compare"),
    ],
)
def test_what_cannot_be_compared_is_named(models, attentions, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plan.candidates(models, attentions, {}, contests.translation())


def test_a_folder_keeps_to_one_comparison(tmp_path):
    measure = {"flags": ["--steps=2", "--width=8"], "match": "steps"}
    assert plan.load_plans(tmp_path, measure) == {}
    plan.save_plans(tmp_path, measure, {"a": {"steps": 2}})
    assert plan.load_plans(tmp_path, measure) == {"a": {"steps": 2}}
    with pytest.raises(ValueError, match="has other flags: --steps=2, now --steps=3"):
        plan.load_plans(tmp_path, {**measure, "flags": ["--steps=3", "--width=8"]})
    with pytest.raises(ValueError, match="has other match: steps, now flops"):
        plan.load_plans(tmp_path, {**measure, "match": "flops"})
    more = {**measure, "flags": ["--colour=red", *measure["flags"]]}
    with pytest.raises(ValueError, match="has other flags: nothing, now --colour=red"):
        plan.load_plans(tmp_path, more)
    # One that an earlier version did not have, and that is not set now.
    plans = plan.load_plans(tmp_path, more, is_new=lambda x, kept: x == "--colour=red")
    assert plans == {"a": {"steps": 2}}
    (tmp_path / "plan.json").unlink()
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ValueError, match="must be new or of a comparison"):
        plan.load_plans(tmp_path, measure)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model=rnn"], "here `--models` and `--attentions`"),
        (["--match=time"], "`--match=time` and `--max_seconds` go together"),
        (["--learning_rates=fast"], "`--learning_rates` must be numbers; got fast"),
        (["--cores_per_run=999"], "`--cores_per_run` must be at most what there are here"),
        (["--resume"], "`--resume` is that of one run; here `--folder`"),
        (["--score=wer"], "`--score` must be among exact_match, bleu; got 'wer'"),
        (["--rnn_option=layer=1"], "`--rnn_option` must be flag=value"),
        (["--rnn_option=layers=two"], "`--rnn_option=layers=two` is no value of its flag"),
        (["--models=elman"], "must be among transformer, gru, lstm"),
    ],
)
def test_what_a_user_can_mend_ends_in_one_clear_line(arguments, message, tmp_path):
    done = run(*TINY, f"--folder={tmp_path / 'new'}", *arguments)
    assert done.returncode == 1 and message in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cost_lengths=16,32"], "`--cost_lengths` must be left out but for costs of tr"),
        (["--cost_repeats=2"], "experiments.memory itself measures those of memory"),
        (["--models=gru:coverage", "--cost_lengths="], "coverage cannot look back only"),
    ],
)
def test_memory_has_rules_of_its_own(arguments, message, tmp_path):
    folder = tmp_path / "new"
    done = run("--experiment", "memory", "--rows=8", f"--folder={folder}", *arguments)
    assert done.returncode == 1 and message in done.stderr
    assert done.stderr.count("\n") == 1 and not folder.exists()


@pytest.mark.parametrize("preset", sorted(ROOT.glob("experiments/presets/compare_*.flags")))
def test_presets_are_read(preset, tmp_path):
    done = run(f"--flagfile={preset}", "--models=elman", f"--folder={tmp_path / 'new'}")
    assert "`--models` must be among" in done.stderr, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("match", plan.MATCHES)
def test_candidates_are_matched(match, tmp_path):
    wide = [x for x in TINY if not x.startswith(("--width", "--feed_forward"))]
    wide += ["--width=64", "--feed_forward=128", "--rnn_option=width=40"]
    time_limit = ["--max_seconds=9"] if match == "time" else []
    done = run(
        *wide,
        "--models=transformer,gru:additive",
        "--notrain",
        f"--match={match}",
        *time_limit,
        f"--folder={tmp_path}",
    )
    assert done.returncode == 1 and "2 of 2 runs are not done" in done.stderr, done.stderr
    plans = json.loads((tmp_path / "plan.json").read_text())["plans"]
    first, second = plans["transformer-scaled_dot"], plans["gru-additive"]
    if match == "parameters":
        assert second["parameters"] == pytest.approx(first["parameters"], rel=0.05)
        assert second["width"] != 40 and second["steps"] == first["steps"]
    if match == "flops":
        # To half a step.
        assert abs(second["flops"] - first["flops"]) <= second["flops_of_step"] / 2
    if match == "time":
        spent = [plan["steps"] * plan["seconds_of_step"] for plan in (first, second)]
        assert spent == pytest.approx([9, 9], rel=0.1)
    if match == "steps":
        assert first["steps"] == second["steps"] == 2 and second["width"] == 40


@pytest.mark.slow
def test_a_comparison_from_end_to_end(tmp_path):
    command = [*TINY, "--models=transformer,gru:none", "--seeds=2", f"--folder={tmp_path / 'x'}"]
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert "transformer-scaled_dot rate 0.002 seed 1: done" in done.stdout
    page = (tmp_path / "x" / "report.html").read_bytes()
    tests = scores_of(tmp_path / "x")
    results = sorted((tmp_path / "x" / "runs").glob("*/*/result.json"))
    before = [path.stat().st_mtime_ns for path in results]
    assert len(results) == 4

    (tmp_path / "x" / "report.html").unlink()
    again = run(*command)
    assert again.returncode == 0 and "seed 0: done" not in again.stdout
    assert [path.stat().st_mtime_ns for path in results] == before
    assert (tmp_path / "x" / "report.html").read_bytes() == page

    other = run(*command, "--steps=3")
    assert other.returncode == 1 and "--steps=2, now --steps=3" in other.stderr

    # As after a kill between training and scoring: only that run goes on.
    results[0].unlink()
    more = run(*command)
    assert more.returncode == 0 and more.stdout.count(": done") == 1
    assert scores_of(tmp_path / "x") == tests

    # Killed while it trains; what it leaves at work is waited for.
    killed = [*command[:-1], f"--folder={tmp_path / 'y'}", "--cost_lengths="]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.compare", *killed],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
    )
    limit = time.monotonic() + 300
    while not list((tmp_path / "y").glob("runs/*/*/metrics.jsonl")):
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    done = run(*killed)
    assert done.returncode == 0, done.stderr
    assert scores_of(tmp_path / "y") == tests
