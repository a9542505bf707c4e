"""Flags of a comparison: their meaning, and contradictions."""

import re

import pytest

from experiments.compare.config import check
from tests.support.comparisons import asked, comparison


def test_lists_part_at_commas_outside_brackets():
    found = comparison("--models=transformer,gru:dilated(size=8, dilation=2)", "--attentions=dot")
    assert found.models == ["transformer", "gru:dilated(size=8, dilation=2)"]
    assert found.attentions == ["dot"]
    assert comparison("--models=gru").attentions == []


def test_seeds_and_rates():
    found = comparison("--seed=3", "--seeds=2", "--learning_rates=1e-3,0.01")
    assert list(found.seeds) == [3, 4] and found.rates == [0.001, 0.01]
    assert comparison().rates == []


@pytest.mark.parametrize(
    ("experiment", "arguments", "score"),
    [
        ("translation", [], "exact_match"),
        ("translation", ["--task=parallel"], "bleu"),
        ("translation", ["--task=parallel", "--score=exact_match"], "exact_match"),
        ("images", [], "accuracy"),
        ("speech", [], "wer"),
        ("speech", ["--score=cer"], "cer"),
    ],
)
def test_the_score_is_the_usual_one_or_the_one_asked_for(experiment, arguments, score):
    assert comparison(*arguments, experiment=experiment).score == score


@pytest.mark.parametrize(
    ("experiment", "arguments", "folder"),
    [
        ("translation", ["--task=reverse"], "runs/compare-reverse"),
        (
            "translation",
            ["--task=parallel", "--preset=multi30k_de_en"],
            "runs/compare-multi30k_de_en",
        ),
        ("language", ["--preset=tiny_shakespeare"], "runs/compare-language"),
        ("memory", [], "runs/compare-memory"),
        ("memory", ["--folder=mine"], "mine"),
    ],
)
def test_the_folder_is_named_after_the_task(experiment, arguments, folder):
    assert str(comparison(*arguments, experiment=experiment).folder) == folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["--mesh=data=-1"],
        ["--launcher=ray", "--mesh=data=4", "--gpus_per_run=4"],
        ["--launcher=ray", "--mesh=data=-1", "--gpus_per_run=0.5"],
        ["--launcher=ray", "--mesh=fsdp=4", "--gpus_per_run=4", "--processes_per_run=4"]
        + ["--cores_per_run=8"],
        # A mesh of CPUs: their number is known where the run is.
        ["--launcher=ray", "--mesh=data=8", "--processes_per_run=2", "--cores_per_run=2"],
    ],
)
def test_meshes_of_runs(arguments):
    check(*asked(*arguments, experiment="language"))


@pytest.mark.parametrize(
    ("experiment", "arguments", "message"),
    [
        ("translation", ["--model=rnn"], "`--model` is that of one run; here `--models`"),
        ("translation", ["--attention=dot"], "`--attention` is that of one run"),
        ("translation", ["--cell=lstm"], "`--cell` is that of one run"),
        ("translation", ["--run=x"], "`--run` is that of one run; here `--folder`"),
        ("translation", ["--dry_run"], "is that of one run; give it to experiments.translation."),
        ("translation", ["--resume"], "`--resume` is that of one run; here `--folder`"),
        ("translation", ["--match=time"], "`--match=time` and `--max_seconds` go together"),
        ("translation", ["--max_seconds=3"], "got --match=parameters, --max_seconds=3.0"),
        ("translation", ["--learning_rates=fast"], "`--learning_rates` must be numbers; got fast"),
        ("translation", ["--cores_per_run=999"], "`--cores_per_run` must be at most what there"),
        ("translation", ["--score=wer"], "`--score` must be among exact_match, bleu; got 'wer'"),
        ("memory", ["--cost_lengths=16,32"], "`--cost_lengths` must be left out but for costs of"),
        ("memory", ["--cost_repeats=2"], "experiments.memory itself measures those of memory"),
        ("images", ["--cost_lengths=16"], "translations; got --experiment=images."),
        ("translation", ["--distributed"], "`--distributed` is that of one run; here `--processes"),
        ("language", ["--mesh=rows=2"], "`mesh` must be axes with sizes, of data, fsdp, tensor,"),
        ("language", ["--processes_per_run=2"], "`--cores_per_run` must be a multiple of --proces"),
        (
            "language",
            ["--launcher=ray", "--processes_per_run=2", "--cores_per_run=2", "--gpus_per_run=3"],
            "`--gpus_per_run` must be a multiple of --processes_per_run=2, which share them alike",
        ),
        (
            "language",
            ["--launcher=ray", "--processes_per_run=2", "--cores_per_run=2"],
            "`--processes_per_run=2` needs a mesh on which they train together; got none. Add --me",
        ),
        (
            "language",
            ["--launcher=ray", "--mesh=data=2", "--gpus_per_run=4"],
            "`mesh` must use all of the 4 devices that are here; data=2 uses 2",
        ),
        (
            "language",
            ["--mesh=data=2", "--match=time", "--max_seconds=9"],
            "`--match=time` measures steps on one device, here; got --mesh=data=2",
        ),
    ],
)
def test_flags_that_contradict_each_other_are_refused(experiment, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check(*asked(*arguments, experiment=experiment))


def test_what_is_empty_or_shared_is_no_contradiction():
    check(*asked("--cost_lengths=", experiment="memory"))
    check(*asked("--match=time", "--max_seconds=3", "--width=8", "--seed=1"))
