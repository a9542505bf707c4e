"""Curves of memory: what the runs in them are called, and runs with several seeds."""

import json
import re

import numpy as np
import pytest

from experiments.memory import plots, seeds


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
    found = seeds.read([*folders, other])
    same = [f"Transformer, dot ({folder})" for folder in folders]
    assert list(found) == [*same, "Transformer, linear"]
    assert [found[name]["seconds"] for name in same] == [0, 1, 2]


def test_runs_of_two_problems_share_no_axes(tmp_path):
    folders = [finished(tmp_path / task, task=task) for task in ("copying", "adding")]
    want = (
        f"({folders[0]}) of copying and Transformer, dot ({folders[1]}) of adding. Draw them apart."
    )
    with pytest.raises(ValueError, match=re.escape(want)):
        seeds.read(folders)


def with_seed(folder, seed, rights, **own):
    """A run whose test of 10 sequences with 2 answers each has so many right."""
    accuracy = sum(rights) / 20
    tests = {"test": {"accuracy": accuracy}}
    distances = {"test": [[2, 4, sum(rights), 20]]}
    own = {"tests": tests, "distances": distances, "lengths": {"test": 8}, "seconds": 3.0} | own
    finished(folder, parameters=1234, seconds=own.pop("seconds"), **own)
    (folder / "run.flags").write_text(f"# begun\n--layers=2\n--run={folder}\n--seed={seed}\n")
    rows = {"test": {"accuracy": [[right, 2] for right in rights]}}
    (folder / "outcomes.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture
def three(tmp_path):
    each = [[2] * 10, [2] * 9 + [1], [2] * 5 + [1] * 5]
    return [with_seed(tmp_path / f"run{i}", i, rights) for i, rights in enumerate(each)]


def test_runs_that_differ_in_their_seed_are_one_with_an_interval(three):
    (found,) = seeds.read(three).values()
    test = found["tests"]["test"]
    assert test["values"] == [1.0, 0.95, 0.75] and found["seeds"] == 3
    assert test["accuracy"] == pytest.approx(0.9)
    # A logit interval by hand: of the runs alone, t of 2 degrees of freedom is 4.303.
    error = 0.1322876 / 3**0.5 / (0.9 * 0.1)
    logit = np.log(9)
    assert test["low"] < 1 / (1 + np.exp(-(logit - 1.96 * error)))
    assert test["low"] > 1 / (1 + np.exp(-(logit - 4.303 * error * 1.3)))
    assert 0.9 < test["high"] < 1
    assert found["distances"]["test"] == [[2, 4, 54, 60]]


def test_other_flags_are_another_curve(three, tmp_path):
    (three[2] / "run.flags").write_text("--layers=4\n--seed=2\n")
    assert len(seeds.read(three)) == 2


def test_a_report_is_drawn_and_told_as_its_runs_were(three, tmp_path):
    found = seeds.read(three)
    report = tmp_path / "report.json"
    report.write_text(json.dumps(found))
    assert seeds.read([report]) == found
    last = seeds.table(found).splitlines()[-1]
    assert last.startswith("| Transformer, dot | 1,234 | 90.00 (")
