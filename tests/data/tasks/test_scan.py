"""SCAN against what is known of its files, and files that are none of it."""

import gzip

import pytest

from attention_jax.data import tasks
from attention_jax.data.tasks.scan import SPLITS
from tests.support.paths import DATA

needs_data = pytest.mark.skipif(not (DATA / "scan").is_dir(), reason="the files of SCAN are away")
# Lines for training and test, and the longest actions of each: Lake and Baroni 2018.
SIZES = {
    "simple": (16728, 4182, 48, 48),
    "length": (16990, 3920, 22, 48),
    "addprim_jump": (14670, 7706, 48, 48),
    "addprim_turn_left": (21890, 1208, 48, 27),
}
PRIMITIVES = {"walk": "I_WALK", "look": "I_LOOK", "run": "I_RUN", "jump": "I_JUMP", "turn": None}
TIMES = {"twice": 2, "thrice": 3}


def carried_out(command):
    """Figure 6 of the paper: what a command means."""
    for joint, turned in ((" and ", False), (" after ", True)):
        if joint in command:
            parts = [carried_out(part) for part in command.split(joint)]
            return " ".join(parts[::-1] if turned else parts)
    *words, last = command.split()
    if last in TIMES:
        return " ".join([carried_out(" ".join(words))] * TIMES[last])
    verb, *way = command.split()
    act = [PRIMITIVES[verb]] if PRIMITIVES[verb] else []
    if not way:
        return " ".join(act)
    turn = [f"I_TURN_{way[-1].upper()}"]
    if way[0] == "around":
        return " ".join((turn + act) * 4)
    return " ".join(turn * (2 if way[0] == "opposite" else 1) + act)


@needs_data
@pytest.mark.parametrize("split", SPLITS)
def test_actions_are_what_the_commands_mean(split):
    task = tasks.get("scan", split=split, data_dir=str(DATA))
    for part in (task.train, task.validation, task.tests["test"]):
        for example in part[:500]:
            assert example.references == (carried_out(example.source),)


@needs_data
@pytest.mark.parametrize("split", SIZES)
def test_splits_are_those_of_the_paper(split):
    task = tasks.get("scan", split=split, data_dir=str(DATA))
    train, test, longest, longest_test = SIZES[split]
    seen = [*task.train, *task.validation]
    assert (len(seen), len(task.tests["test"])) == (train, test)
    assert max(len(e.references[0].split()) for e in seen) == longest
    assert max(len(e.references[0].split()) for e in task.tests["test"]) == longest_test
    assert 0.03 < len(task.validation) / len(seen) <= 0.05


@needs_data
def test_a_word_that_is_taught_by_itself_stays_in_training():
    for seed in range(3):
        task = tasks.get("scan", split="addprim_jump", data_dir=str(DATA), seed=seed)
        assert sum(example.source == "jump" for example in task.train) == 1467


def write(folder, train, test="IN: run OUT: I_RUN\n"):
    (folder / "scan").mkdir()
    with gzip.open(folder / "scan" / "tasks_train_simple.txt.gz", "wt") as file:
        file.write(train)
    (folder / "scan" / "tasks_test_simple.txt").write_text(test)
    return str(folder)


def test_files_may_be_plain_or_gzipped(tmp_path):
    train = "IN: walk OUT: I_WALK\nIN: look OUT: I_LOOK\n"
    task = tasks.get("scan", data_dir=write(tmp_path, train))
    assert len(task.train) == len(task.validation) == len(task.tests["test"]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "long"}, "`split` must be one of simple, length"),
        ({"validation_percent": "0"}, "between 1 and 50; got 0"),
        ({}, "`data_dir` must name the folder that holds scan/; got None"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        tasks.get("scan", **options)


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="tasks_train_simple.txt.gz or scan/tasks_train"):
        tasks.get("scan", data_dir=str(tmp_path))
    folder = write(tmp_path, "IN: walk OUT: I_WALK\nwalk I_WALK\n")
    with pytest.raises(ValueError, match='"IN: command OUT: actions"; .* another at line 2'):
        tasks.get("scan", data_dir=folder)
