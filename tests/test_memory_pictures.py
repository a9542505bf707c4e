"""Curves of memory: what the runs in them are called."""

import pytest

from experiments import memory_pictures


@pytest.mark.parametrize(
    ("result", "called"),
    [
        ({"model": "transformer", "attention": "linear", "positions": "none"},
         "Transformer, linear, no positions"),
        ({"model": "transformer", "attention": "mine/manhattan.py", "positions": "rope"},
         "Transformer, manhattan, rope"),
        ({"model": "rnn", "attention": "none", "positions": None, "cell": "LSTM"},
         "LSTM, no attention"),
    ],
)  # fmt: skip
def test_a_run_is_called_by_what_it_has_and_has_not(result, called):
    assert memory_pictures.label(result) == called
