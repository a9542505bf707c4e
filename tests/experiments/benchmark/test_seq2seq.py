"""The benchmark of training steps: our step learns, and ratios are of the steps of a round."""

import pytest

from experiments.benchmark import seq2seq
from experiments.common import timing

SETTINGS = seq2seq.Settings(vocabulary=12, sentences=4, length=5, dropout=0.0, repeats=3)


def test_batches_are_full_rows():
    batch = seq2seq.random_batch(SETTINGS)
    assert batch.source.shape == batch.target_in.shape == (4, 5)
    assert batch.source_mask.all() and (batch.weights > 0).all()
    assert batch.source.max() < 12


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_a_step_of_ours_learns(number):
    candidate = seq2seq.candidates(SETTINGS)[number]
    step = seq2seq.training_step(candidate.build, seq2seq.random_batch(SETTINGS))
    losses = [step() for _ in range(8)]
    assert losses[-1] < losses[0]


def test_ratios_are_those_of_two_steps_in_turn(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])

    def taking(*seconds):
        left = iter(seconds)

        def step():
            now[0] += next(left)
            return 0.0

        return step

    found = seq2seq.compare(taking(9, 1, 2, 4), taking(7, 2, 8, 12), SETTINGS)
    assert found["first_step_seconds"] == 9
    assert found["ours_tokens_per_second"] == 20 / 2
    assert found["torch_tokens_per_second"] == 20 / 8
    assert (found["ratio_lowest"], found["ratio"], found["ratio_highest"]) == (2, 3, 4)
