"""The file of plans: a folder keeps to one comparison, also one that an older version began."""

import json
import re

import pytest

from experiments.compare import plan_file
from experiments.compare.__main__ import compare
from tests.support.comparisons import comparison

ARGUMENTS = ("--steps=2", "--width=8", "--match=steps", "--models=gru,transformer")


@pytest.fixture
def asked(tmp_path):
    """A comparison in a folder, with further flags."""
    return lambda *arguments: comparison(*ARGUMENTS, f"--folder={tmp_path}", *arguments)


@pytest.fixture
def kept(asked):
    """One that has a plan."""
    plans = {"gru-additive": {"flags": {"model": "rnn"}, "steps": 2}}
    assert plan_file.load(asked()) == {}
    plan_file.save(asked(), plans)
    return plans


def test_the_same_comparison_goes_on(asked, kept):
    assert plan_file.load(asked()) == kept
    # Of one run, or where things are.
    elsewhere = ("--learning_rate=3", "--seed=9", "--data_dir=x", "--compile_cache=", "--seeds=5")
    assert plan_file.load(asked(*elsewhere)) == kept


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps=3"], "has other flags: --steps=2, now --steps=3"),
        (["--tokenizer=bpe"], "has other flags: nothing, now --tokenizer=bpe"),
        (["--match=flops"], "has other match: steps, now flops"),
        (["--models=lstm"], "has other first: gru, now lstm"),
        (["--rnn_option=layers=1"], "has other options: nothing, now layers=1"),
    ],
)
def test_another_comparison_is_refused(arguments, message, asked, kept):
    with pytest.raises(ValueError, match=re.escape(message)):
        plan_file.load(asked(*arguments))


def rewrite(folder, change):
    path = folder / "plan.json"
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def test_a_flag_that_came_since_is_no_change_unless_it_is_set(asked, kept, tmp_path):
    def without_tied(found):
        found["measure"]["flags"].remove("--tied")

    rewrite(tmp_path, without_tied)
    assert plan_file.load(asked()) == kept
    with pytest.raises(ValueError, match="has other flags: --tied, now --notied"):
        plan_file.load(asked("--notied"))


def test_plans_of_version_0_name_the_file_of_an_attention_apart(asked, kept, tmp_path):
    def as_then(found):
        del found["format_version"]
        found["plans"]["gru-mine"] = {"flags": {"model": "rnn", "attention_file": "a/mine.py"}}

    rewrite(tmp_path, as_then)
    plans = plan_file.load(asked())
    assert plans["gru-mine"]["flags"] == {"model": "rnn", "attention": "a/mine.py"}
    assert plans["gru-additive"] == kept["gru-additive"]


def test_a_later_version_is_refused(asked, kept, tmp_path):
    rewrite(tmp_path, lambda found: found.update(format_version=2))
    with pytest.raises(
        ValueError, match="must be of format version 1 or earlier.* is of 2. Update"
    ):
        plan_file.load(asked())


def test_a_folder_of_something_else_is_left_alone(asked, tmp_path):
    (tmp_path / "compare.lock").touch()
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ValueError, match="must be new or of a comparison"):
        plan_file.load(asked())
    assert not (tmp_path / "plan.json").exists()


def test_a_refused_comparison_leaves_nothing(tmp_path):
    folder, other = tmp_path / "a" / "new", tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").touch()
    for place, message in ((folder, "goes with --sample"), (other, "must be new or of a compar")):
        with pytest.raises(ValueError, match=message):
            compare(comparison(*ARGUMENTS, f"--folder={place}", "--task=reverse", "--min_p=0.5"))
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


def test_what_an_earlier_call_began_is_not_undone(asked, kept, tmp_path):
    with pytest.raises(ValueError, match="later"), plan_file.undone(tmp_path, []):
        plan_file.save(asked(), kept)
        raise ValueError("later")
    assert plan_file.load(asked()) == kept
