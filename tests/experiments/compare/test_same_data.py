"""Runs of a comparison whose data differ, as their records tell."""

import json

import pytest

from attention_jax.core.files import content_hash
from experiments.compare import same_data
from experiments.compare.runs import Run
from tests.support.comparisons import comparison

# As the experiment's `contents` gives them: hashes of the parts, here of a task of three splits.
PARTS = {"train": [("a", ("b",))], "validation": [("c", ("d",))], "test": [("e", ("f",))]}


class Data:
    train, validation, tests = PARTS["train"], PARTS["validation"], {"test": PARTS["test"]}


def check(asked, runs):
    same_data.check(asked, runs, same_data.Contents(asked.experiment.hashes(Data())))


@pytest.fixture
def runs(tmp_path):
    """Three runs with the records of version 1, of two seeds."""
    found = [Run("gru", "0.1", 0, tmp_path), Run("gru", "0.1", 1, tmp_path)]
    found.append(Run("transformer", "0.1", 1, tmp_path / "other"))
    for run in found:
        write(run, {name: content_hash(part) for name, part in PARTS.items()})
    return found


def write(run, data):
    run.folder.mkdir(parents=True, exist_ok=True)
    record = {"format_version": 1, "experiment": "translation", "id": "x", "data": data}
    (run.folder / "run.json").write_text(json.dumps(record))
    (run.folder / "run.flags").write_text("--task=copy\n")


def test_equal_data_are_accepted(runs, tmp_path):
    check(comparison(), [*runs, Run("lstm", "0.1", 0, tmp_path)])


def test_records_without_hashes_are_taken_as_they_are(runs):
    write(runs[1], {})
    check(comparison(), runs)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_run_of_other_data_is_refused_in_one_line(runs, number):
    changed = {**PARTS, "test": [("e", ("g",))]}
    write(runs[number], {name: content_hash(part) for name, part in changed.items()})
    message = f"contents of test differ between this call and {runs[number].folder}. Give"
    with pytest.raises(ValueError, match=message) as caught:
        check(comparison(), runs)
    assert "\n" not in str(caught.value)


def test_data_of_each_seed_are_compared_where_the_seed_draws_them(runs):
    asked = comparison()
    drawn = asked._replace(experiment=asked.experiment._replace(seed_is_of_data=True))
    changed = {name: content_hash([name]) for name in PARTS}
    write(runs[1], changed)
    message = f"test, train, validation differ between {runs[1].folder} and {runs[2].folder}"
    with pytest.raises(ValueError, match=message):
        check(drawn, runs)
    write(runs[2], changed)
    check(drawn, runs)
    with pytest.raises(ValueError, match="between this call and"):
        check(asked, runs)


def test_runs_of_a_contender_have_its_data_and_one_beginning(runs, tmp_path):
    """Their tokens are their own, and the weights that all of them begin with are the same."""
    tokens = {name: content_hash([name]) for name in PARTS}
    for run in runs[:2]:
        write(run, tokens | {"init_from": "a"})
    asked = comparison()
    shared = asked.experiment.hashes(Data())
    same_data.check(asked, runs, same_data.Contents(shared, {"gru": tokens}))
    with pytest.raises(ValueError, match="of test, train, validation differ between this call"):
        same_data.check(asked, runs, same_data.Contents(shared))
    write(runs[1], tokens | {"init_from": "b"})
    message = f"contents of init_from differ between {runs[0].folder} and {runs[1].folder}"
    with pytest.raises(ValueError, match=message):
        same_data.check(asked, runs, same_data.Contents(shared, {"gru": tokens}))
