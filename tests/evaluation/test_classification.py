"""Scores of a classifier are counts and means."""

import numpy as np
import pytest

from attention_jax.evaluation import classification


def test_scores_count_what_is_right():
    logs = np.log(np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], np.float32))
    labels = np.array([0, 1, 2])
    found = classification.scores(logs, labels)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["loss"] == pytest.approx(-np.log([0.5, 0.25, 0.8]).mean(), rel=1e-6)
    names = ("cat", "dog", "emu", "fox")
    assert classification.of_classes(logs, labels, names) == {"cat": 1.0, "dog": 0.0, "emu": 1.0}
