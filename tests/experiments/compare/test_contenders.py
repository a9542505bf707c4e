"""Contenders with weights that are there: their plans, their data, their report, and refusals."""

import json

import jax
import numpy as np
import pytest

from attention_jax import pretrained
from experiments.common.load_run import load_run
from experiments.compare import contenders, plots, report, runs, summary
from experiments.compare.__main__ import compare
from experiments.compare.candidates import candidates
from experiments.compare.config import check
from experiments.compare.plan import Program, make_plan
from tests.support import pretrained_folders
from tests.support.comparisons import asked, comparison
from tests.support.scripts import TINY, run, scores_of


@pytest.fixture(scope="module")
def marian(tmp_path_factory):
    return pretrained_folders.marian(tmp_path_factory.mktemp("marian"))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return pretrained_folders.gpt2(tmp_path_factory.mktemp("gpt2"))


def refusal(*arguments, experiment="translation"):
    """The one line by which a comparison is refused before anything is written."""
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        found, given = asked(*arguments, experiment=experiment)
        check(found, given)
        candidates(found)
    said = str(error.value)
    assert "\n" not in said
    return said


def test_a_contender_has_its_place_and_no_other_flags_of_models(marian):
    own = [f"--models=transformer,init:{marian},as_is:{marian}", "--init_option=dropout=0.2"]
    found = comparison(*TINY, *own, "--learning_rates=0.1,0.2", "--seeds=3")
    first, trained, as_is = candidates(found)[0]
    assert [x.name for x in (trained, as_is)] == ["model-trained_on", "model-as_is"]
    assert first.place is None and first.is_trained
    assert trained.place == as_is.place == str(marian)
    # The width of the others is not its own; what it is trained with is.
    assert trained.flags["width"] == found.experiment.config.model.width != found.shared.model.width
    assert trained.flags["dropout"] == 0.2 and "dropout" not in as_is.flags
    assert trained.is_trained and not as_is.is_trained and as_is.flags["steps"] == 0
    assert runs.rates(found, trained) == [0.1, 0.2] and runs.rates(found, as_is) == [0.0]
    assert list(runs.seeds_of(found, trained)) == [0, 1, 2]
    assert list(runs.seeds_of(found, as_is)) == [0]
    drawn = comparison(*TINY, *own, "--sample", "--seeds=3")
    assert list(runs.seeds_of(drawn, as_is)) == [0, 1, 2]


def test_what_cannot_be_a_contender_is_refused_in_one_line(marian, gpt2, tmp_path):
    new = [*TINY, f"--folder={tmp_path / 'new'}"]
    got = refusal(*new, f"--models=transformer,init:{tmp_path / 'none'}")
    assert "is no contender here: `--init_from` must name the folder of a run, or a model" in got
    got = refusal(*new, f"--models=transformer,as_is:{gpt2}")
    assert got.startswith(f"`--models=as_is:{gpt2}` is no contender here")
    assert f"experiments.translation can train; {gpt2} is a gpt2 model" in got
    assert "`--models` must name a place behind init:" in refusal(*new, "--models=gru,init:")
    got = refusal(f"--models=cnn,init:{marian}", experiment="images")
    assert "have --init_from, language and translation; got --experiment=images" in got
    for match in ("parameters", "flops"):
        got = refusal(*new, f"--models=init:{marian},gru", f"--match={match}")
        assert f"sets the measure of --match={match}; got init:{marian}" in got
    assert candidates(comparison(*new, f"--models=as_is:{marian}", "--match=steps"))[0]
    for option in ("width=8", "init_from=x", "steps=none"):
        got = refusal(*new, f"--models=gru,init:{marian}", f"--init_option={option}")
        assert got.startswith(("`--init_option` must be", "`--init_option=steps=none` is no value"))
    got = refusal(*new, f"--init_from={marian}")
    assert got == "`--init_from` is that of one run; here `--models=init:PLACE`."
    assert "here `--init_option=lora_rank=VALUE`" in refusal(*new, "--lora_rank=2")
    assert "must be at least 1 in a comparison; got 0" in refusal(*new, "--steps=0")
    got = refusal(f"--models=transformer,init:{gpt2}", "--context=64", experiment="language")
    assert "`--context` must be at most 24" in got
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.flags").write_text("# python -m experiments.translation\n")
    got = refusal(*new, f"--models=gru,init:{tmp_path / 'begun'}")
    assert "must name a trained model" in got
    assert not (tmp_path / "new").exists()


def test_what_is_not_trained_is_planned_with_its_own_size(marian):
    """Matched by parameters with a candidate of another size; nothing is compiled for it."""
    found = comparison(*TINY, f"--models=transformer,as_is:{marian}", "--match=parameters")
    _, as_is = candidates(found)[0]
    experiment = found.experiment
    data = experiment.load(found.shared)
    shared = contenders.Source(data, experiment.learn(found.shared, data, None))
    own = contenders.sources(found, {as_is.name: as_is.flags}, shared)[as_is.name]
    assert contenders.has_own_tokens(own, shared) and not contenders.has_own_tokens(own, own)
    loaded = pretrained.load(marian)
    assert own.known.to_text() == loaded.tokenizer.to_text()
    program = Program(experiment, own.known, experiment.batches(found.shared, *own))
    plan = make_plan(found, as_is, {"parameters": 999_999}, program)
    assert plan["parameters"] == sum(np.size(x) for x in jax.tree.leaves(loaded.params))
    assert plan["width"] is None and plan["place"] == str(marian)
    assert plan["steps"] == 0 and plan["flops"] == 0.0


def test_a_run_of_ours_has_the_tokens_of_the_comparison_where_it_learned_the_same(tmp_path):
    found = comparison(*TINY)
    data = found.experiment.load(found.shared)
    learned = found.experiment.learn(found.shared, data, None)
    found.experiment.keep(learned, tmp_path)
    kept = found.experiment.recall(found.shared, tmp_path)
    both = contenders.Source(data, learned), contenders.Source(data, kept)
    assert not contenders.has_own_tokens(*both)


def test_two_contenders_of_one_name_are_refused(marian, tmp_path):
    other = tmp_path / "model"
    other.symlink_to(marian)
    got = refusal(*TINY, f"--models=gru,init:{marian},init:{other}")
    assert got == "`--models` must differ in name; two of them are model-trained_on."


def test_language_is_compared_by_what_no_tokenizer_changes(gpt2):
    given = ["--text_file=x.txt", "--context=16"]
    assert comparison(*given, experiment="language").score == "accuracy"
    found = comparison(*given, f"--models=gru,as_is:{gpt2}", experiment="language")
    assert found.score == "bits_per_character"


FOUND = {
    "options": {"match": "parameters", "score": "exact_match", "seeds": 3, "confidence": 0.95},
    "candidates": {
        "transformer": {"parameters": 9, "steps": 5, "place": None, "own_tokens": False},
        "opus-trained_on": {"parameters": 12, "steps": 5, "place": "opus", "own_tokens": True},
        "opus-as_is": {"parameters": 12, "steps": 0, "place": "opus", "own_tokens": True},
    },
}


def test_the_report_says_what_is_matched_with_nothing():
    said = summary.notes(FOUND)
    assert said[0].startswith("opus-trained_on is trained on from opus: its 12 parameters are its")
    assert "opus-as_is is opus as it is, untrained here" in said[1] and "all 3 seeds" in said[1]
    assert "losses are means over other tokens" in said[2] and len(said) == 3
    assert summary.unmatched(FOUND) == ["opus-trained_on", "opus-as_is"]
    by_steps = FOUND | {"options": FOUND["options"] | {"match": "steps"}}
    assert summary.unmatched(by_steps) == ["opus-as_is"]
    assert report._matched(FOUND).endswith(", except opus-trained_on, opus-as_is")


def test_losses_of_other_tokens_are_not_drawn_in_one_panel():
    point = {"step": 1, "seconds": {"mean": 1.0}}
    loss = {"mean": 2.0, "low": None, "high": None}
    whole = {"loss": loss, "exact_match": loss}
    found = FOUND | {
        "curves": {name: [point | whole] for name in FOUND["candidates"]},
        "tests": {},
    }
    figure = plots.curves(found, plots.style.LIGHT)
    drawn = [[line.get_label() for line in axes.lines] for axes in figure.axes]
    assert drawn[:2] == [["transformer"]] * 2
    # What is not trained is a level, drawn first.
    assert drawn[2:] == [["opus-as_is", "transformer", "opus-trained_on"]] * 2


@pytest.mark.slow
def test_translation_beside_a_pretrained_model(marian, tmp_path):
    """The one that is as it is has the answers of the model as it is loaded."""
    models = f"--models=transformer,init:{marian},as_is:{marian}"
    command = [*TINY, models, "--seeds=2", f"--folder={tmp_path / 'x'}"]
    done = run(*command)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "x" / "report.json").read_text())
    as_is, trained = (found["candidates"][f"model-{x}"] for x in ("as_is", "trained_on"))
    loaded = pretrained.load(marian)
    size = sum(np.size(x) for x in jax.tree.leaves(loaded.params))
    assert as_is["parameters"] == trained["parameters"] == size
    assert as_is["width"] is None and as_is["own_tokens"] and as_is["steps_done"]["mean"] == 0
    assert as_is["runs"] == 1 and trained["runs"] == 2 and trained["steps_done"]["mean"] == 2
    assert [len(own) for own in found["costs"].values()] == [2, 2, 2]
    for test in found["tests"].values():
        assert test["scores"]["model-as_is"]["count"] == 2
    (folder,) = (tmp_path / "x" / "runs" / "model-as_is").glob("*/")
    same = load_run(folder)
    for a, b in zip(jax.tree.leaves(same.params), jax.tree.leaves(loaded.params), strict=True):
        np.testing.assert_array_equal(a, b)
    tests = scores_of(tmp_path / "x")
    again = run(*command)
    assert again.returncode == 0 and ": done" not in again.stdout
    assert scores_of(tmp_path / "x") == tests
    page = (tmp_path / "x" / "report.html").read_text()
    assert "untrained here" in page and "except model-trained_on, model-as_is" in page


LANGUAGE = "--context=16 --characters=8 --steps=2 --checkpoint_every=1 --evaluate_every=1".split()
LANGUAGE += "--samples=0 --nosample --width=8 --heads=2 --layers=1 --feed_forward=8".split()


@pytest.mark.slow
def test_language_beside_a_pretrained_model(gpt2, tmp_path):
    """Its tokens are other ids of the same letters; accuracy of tokens is refused."""
    (tmp_path / "text.txt").write_text("abc abd abd abc " * 40)
    own = [*LANGUAGE, f"--text_file={tmp_path / 'text.txt'}", "--seeds=1", "--match=steps"]
    own += [f"--models=transformer,as_is:{gpt2}", f"--folder={tmp_path / 'x'}"]
    with pytest.raises(ValueError, match="`--score=accuracy` counts tokens, and those of"):
        compare(asked(*own, "--score=accuracy", experiment="language")[0])
    assert not (tmp_path / "x").exists()
    found = compare(asked(*own, experiment="language")[0])
    assert [x["status"] for x in found["runs"]] == ["done", "done"], found["runs"]
    test = found["tests"]["validation"]
    assert test["better"] == "below"
    (folder,) = (tmp_path / "x" / "runs" / "model-as_is").glob("*/")
    result = json.loads((folder / "result.json").read_text())
    # A token is a letter here, so nats a token are bits a character but for their unit.
    want = result["tests"]["validation"]["loss"] / np.log(2)
    assert test["scores"]["model-as_is"]["mean"] == pytest.approx(want, rel=1e-5)
    (tmp_path / "text.txt").write_text("abc abd xyz " * 40)
    with pytest.raises(ValueError, match="cannot be scored: .* needs tokens that give back the"):
        other = [x for x in own if not x.startswith("--folder")]
        compare(asked(*other, f"--folder={tmp_path / 'y'}", experiment="language")[0])
    assert not (tmp_path / "y").exists()
