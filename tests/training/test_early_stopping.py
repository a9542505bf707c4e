"""Judging evaluations."""

import pytest

from attention_jax.training.early_stopping import TrainProgress, goodness


def judge(values, *, metric="bleu", patience=None):
    progress = TrainProgress()
    for step, value in enumerate(values, 1):
        progress = progress.update({metric: value}, step=step, metric=metric, patience=patience)
    return progress


@pytest.mark.parametrize(
    ("metric", "values", "best", "step"),
    [
        ("bleu", [1.0, 3.0, 2.0], 3.0, 2),
        ("loss", [3.0, 1.0, 2.0], 1.0, 2),
        ("perplexity", [3.0, 1.0, 2.0], 1.0, 2),
        ("cer", [30.0, 10.0, 20.0], 10.0, 2),
        ("wer", [30.0, 10.0, 20.0], 10.0, 2),
        ("bleu", [2.0, 2.0], 2.0, 1),
        ("loss", [float("nan"), 5.0, float("nan")], 5.0, 2),
    ],
)
def test_the_first_of_the_best_is_kept(metric, values, best, step):
    progress = judge(values, metric=metric)
    assert (progress.best, progress.best_step) == (best, step)
    assert progress.evaluated == len(values) and progress.waiting == len(values) - step


def test_patience_counts_evaluations_without_a_better_one():
    assert not judge([1.0, 0.5], patience=2).stopped
    assert judge([1.0, 0.5, 1.0], patience=2).stopped
    assert not judge([1.0, 0.5, 2.0], patience=2).stopped


def test_more_is_better_except_of_losses_and_error_rates():
    assert goodness("chrf", 2.0) == 2.0 and goodness("loss", 2.0) == goodness("wer", 2.0) == -2.0


def test_a_missing_metric_is_named():
    with pytest.raises(ValueError, match="one of the metrics bleu; got 'loss'"):
        TrainProgress().update({"bleu": 1.0}, step=1, metric="loss", patience=None)
