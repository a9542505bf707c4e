"""Tables of a call's steps, made of plain arrays: labels, hidden pairs, what is left out."""

import numpy as np
import pytest

from attention_jax.core.explanation import Explanation


def steps(b=1, t=3, h=1, s=3, e=2, *, changed=0.0):
    """Scores that count up, causal, even weights."""
    plain = np.arange(b * h * t * s, dtype=np.float32).reshape(b, h, t, s)
    visible = np.broadcast_to(np.tri(t, s, dtype=bool), plain.shape)
    weights = visible / visible.sum(-1, keepdims=True)
    output = np.full((b, t, h, e), 0.5, np.float32)
    at = np.arange(t) + 4, np.arange(s) + 4
    return Explanation(plain, plain + changed, visible, weights, output, *at)


def test_small_tables_are_whole():
    assert (
        str(steps())
        == repr(steps())
        == """\
scores, b=0, h=0
       k4     k5     k6
q4  0.000      .      .
q5  3.000  4.000      .
q6  6.000  7.000  8.000

visible, b=0, h=0
    k4  k5  k6
q4   1   .   .
q5   1   1   .
q6   1   1   1

weights, b=0, h=0
       k4     k5     k6
q4  1.000      .      .
q5  0.500  0.500      .
q6  0.333  0.333  0.333

output, b=0, h=0
        0      1
q4  0.500  0.500
q5  0.500  0.500
q6  0.500  0.500"""
    )


def test_scores_before_a_change_stand_first():
    assert steps(changed=1.0).table().startswith("scores before score_mod, b=0, h=0\n")
    assert steps().table().startswith("scores, b=0, h=0\n")


@pytest.mark.parametrize(
    ("t", "s", "said"),
    [
        (13, 15, "(1 more rows, 3 more columns)"),
        (13, 12, "(1 more rows)"),
        (12, 15, "(3 more columns)"),
        (12, 12, None),
    ],
)
def test_a_table_says_what_it_leaves_out(t, s, said):
    text = str(steps(t=t, s=s, b=2))
    scores = text.split("\n\n")[0]
    assert scores.splitlines()[-1] == said if said else "more" not in text
    assert "q15" in scores and "q16" not in scores and "k15" in scores and "k16" not in scores
    assert text.endswith("\n\n2 sequences, 1 heads; others by `.table(b, h)`")


def test_nothing_is_shown_as_nothing():
    assert str(steps(b=0)) == "nothing to show: 0 sequences, 1 heads"
