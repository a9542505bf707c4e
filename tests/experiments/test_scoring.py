"""Scores of runs: sums over items, whatever the experiment."""

import json

import numpy as np
import pytest

from experiments.common import scoring


def no_guess(measure):
    return {}


@pytest.fixture
def run(tmp_path):
    outcomes = {"test": {"wer": [[1, 4], [0, 6]]}, "length_8": {"wer": [[3, 4], [1, 4], [2, 2]]}}
    result = {"lengths": {"test": 4, "length_8": 8}, "length": 4}
    (tmp_path / "outcomes.json").write_text(json.dumps(outcomes))
    (tmp_path / "result.json").write_text(json.dumps(result))
    return tmp_path


def test_a_score_is_that_of_all_items_together(run):
    scorer = scoring.of_outcomes("sounds", no_guess)
    counts = scorer.counts(run, "wer")
    assert {test: len(x) for test, x in counts.items()} == {"test": 2, "length_8": 3}
    assert scorer.score("wer", counts["test"].sum(axis=0)) == 100 * (1 + 0) / (4 + 6)
    both = np.stack([counts["test"].sum(axis=0), counts["length_8"].sum(axis=0)])
    assert scorer.score("wer", both).tolist() == [10.0, 60.0]


def test_items_have_the_length_of_their_test(run):
    lengths, longest = scoring.of_outcomes("recall", no_guess).lengths(run)
    assert longest == 4 and lengths["length_8"].tolist() == [8, 8, 8]
    (run / "result.json").write_text("{}")
    assert scoring.of_outcomes("pictures", no_guess).lengths(run) is None
