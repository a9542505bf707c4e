"""Curves of memory: what the runs in them are called."""

import json
import re

import pytest

from experiments.memory import plots


@pytest.mark.parametrize(
    ("result", "called"),
    [
        (
            {"model": "transformer", "attention": "linear", "positions": "none"},
            "Transformer, linear, no positions",
        ),
        (
            {"model": "transformer", "attention": "mine/manhattan.py", "positions": "rope"},
            "Transformer, manhattan, rope",
        ),
        (
            {"model": "rnn", "attention": "none", "positions": None, "cell": "LSTM"},
            "LSTM, no attention",
        ),
    ],
)
def test_a_run_is_called_by_what_it_has_and_has_not(result, called):
    assert plots.label(result) == called


def finished(folder, **own):
    folder.mkdir(parents=True)
    result = {"task": "copying", "model": "transformer", "attention": "dot", "distances": {}} | own
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def test_runs_of_one_label_are_all_drawn(tmp_path):
    folders = [finished(tmp_path / name / "run", seconds=i) for i, name in enumerate("abc")]
    other = finished(tmp_path / "d" / "run", attention="linear")
    found = plots.read([*folders, other])
    same = [f"Transformer, dot ({folder})" for folder in folders]
    assert list(found) == [*same, "Transformer, linear"]
    assert [found[name]["seconds"] for name in same] == [0, 1, 2]


def test_runs_of_two_problems_share_no_axes(tmp_path):
    folders = [finished(tmp_path / task, task=task) for task in ("copying", "adding")]
    want = f"got {folders[0]} of copying and {folders[1]} of adding. Draw them apart."
    with pytest.raises(ValueError, match=re.escape(want)):
        plots.read(folders)
