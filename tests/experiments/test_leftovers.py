"""Leftovers of a killed process stand in nobody's way, and are deleted by nobody unsaid."""

import re

import pytest

from attention_jax.data.tokenizer import Tokenizer
from attention_jax.nn.patches import ImageConfig
from experiments.common import (
    attention_files,
    experiment,
    flags,
    leftovers,
    run_folder,
    run_lock,
)
from experiments.images import config as images

MEMORY = experiment.find("memory")


class Killed(BaseException):
    pass


def at(folder, **changes):
    return flags.replace(MEMORY.config, run=str(folder), **changes)


def killed_at(number, monkeypatch, folder, config):
    """Accepts a run in a process that ends before its n-th file is in place."""
    count = 0
    whole = run_folder.write_whole

    def write(path, content):
        nonlocal count
        count += 1
        if count == number:
            path.with_name(f"{path.name}.7.unfinished").write_bytes(b"half")
            raise Killed
        whole(path, content)

    with monkeypatch.context() as changed:
        for module in (run_folder, attention_files):
            changed.setattr(module, "write_whole", write)
        changed.setattr(leftovers, "clear", lambda folder: None)  # a killed process clears nothing
        folder.mkdir()
        (folder / run_lock.NAME).write_text("")
        try:
            run_folder.accept(MEMORY, config, None, folder)
        except Killed:
            return
    raise AssertionError(f"{number} files are not written")


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_that_was_killed_before_it_began_begins_again(
    tmp_path, monkeypatch, number, overwrite
):
    own = tmp_path / "mine.py"
    own.write_text("from attention_jax import variants\nmake = lambda: variants.get('dot')\n")
    folder, config = tmp_path / "run", at(tmp_path / "run", attention=str(own))
    killed_at(number, monkeypatch, folder, config)
    assert not (folder / "run.flags").exists()
    again = flags.replace(config, overwrite=overwrite)
    assert run_folder.choose(MEMORY, again, "x") == folder
    with pytest.raises(ValueError, match="needs a run that was started; .* leave --resume out"):
        run_folder.choose(MEMORY, flags.replace(config, resume=True), "x")
    with run_lock.held(folder):
        run_folder.accept(MEMORY, config, None, folder)
    names = {path.name for path in folder.iterdir()}
    assert names == {"run.flags", "run.json", "environment.json", "mine.py"}


def test_what_experiments_keep_is_known_to_be_a_runs_own(tmp_path):
    tokenizer = Tokenizer.learn(["a"], kind="word")
    pictures = images.Known(("0", "1"), ImageConfig(8, 8, 1, 4))
    known = {"images": pictures, "memory": None}
    for name in experiment.names():
        folder = tmp_path / name
        folder.mkdir()
        (folder / run_lock.NAME).write_text("")
        experiment.find(name).keep(known.get(name, tokenizer), folder)
        assert leftovers.never_began(folder), name


def test_files_of_others_are_never_taken_for_leftovers(tmp_path):
    for name in ("notes.txt", "run.json", "mine.py", "vocabulary.json"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text("mine")
        assert not leftovers.never_began(folder, {"mine.py"})
        with pytest.raises(ValueError, match="is in use"):
            run_folder.choose(MEMORY, at(folder), "x")
    (folder / run_lock.NAME).write_text("")
    (folder / "notes.txt").write_text("mine")
    assert not leftovers.never_began(folder)
    (folder / "notes.txt").unlink()
    (folder / "figures").mkdir()
    assert not leftovers.never_began(folder)


def test_a_failure_leaves_nothing_of_a_run_that_did_not_begin(tmp_path, monkeypatch):
    def full(path, content):
        if path.name == "run.flags":
            raise OSError("No space left on device")
        path.write_text(content)

    monkeypatch.setattr(run_folder, "write_whole", full)
    with pytest.raises(OSError, match="No space left"):
        run_folder.accept(MEMORY, at(tmp_path / "run"), None, tmp_path / "run")
    assert not any((tmp_path / "run").iterdir())


def put_aside(folder, *, begins):
    """A run that an --overwrite had put aside when it was killed."""
    run_folder.accept(MEMORY, at(folder, seed=3), None, folder)
    aside = folder.with_name(f"{folder.name}.replaced-7")
    folder.rename(aside)
    if begins:
        with run_lock.held(aside):
            run_folder.accept(MEMORY, at(folder, seed=4), None, folder)
    (aside / run_lock.NAME).write_text("")
    return aside


@pytest.mark.parametrize("made", [False, True])
def test_an_old_run_comes_back_where_the_new_one_never_began(tmp_path, capsys, made):
    folder = tmp_path / "run[1]"
    aside = put_aside(folder, begins=False)
    if made:
        folder.mkdir()
        (folder / run_lock.NAME).write_text("")
    with pytest.raises(ValueError, match=re.escape(f"{aside} is the old run")):
        run_folder.read_record(folder)
    with pytest.raises(ValueError, match="is in use"):
        run_folder.choose(MEMORY, at(folder), "x")
    assert not aside.exists()
    assert run_folder.read_config(MEMORY, folder).run.seed == 3
    assert f"{folder} is the old run again" in capsys.readouterr().err
    again = run_folder.choose(MEMORY, at(folder, seed=3, resume=True), "x")
    assert again == folder and not capsys.readouterr().err


def test_an_old_run_whose_place_is_taken_goes_when_the_next_call_is_accepted(tmp_path, capsys):
    folder = tmp_path / "run"
    aside = put_aside(folder, begins=True)
    config = at(folder, seed=4, resume=True)
    run_folder.choose(MEMORY, config, "x")
    assert aside.exists()
    run_folder.accept(MEMORY, config, None, folder, run_folder.read_record(folder))
    assert not aside.exists()
    assert f"{aside}, which an --overwrite that was killed had left, is" in capsys.readouterr().err


def test_what_a_living_process_puts_aside_is_left_alone(tmp_path):
    folder = tmp_path / "run"
    aside = put_aside(folder, begins=False)
    with run_lock.held(aside):
        leftovers.put_back(folder)
        assert aside.exists() and not folder.exists()


def test_a_folder_comes_back_unless_it_is_discarded(tmp_path):
    folder = tmp_path / "run"
    run_folder.accept(MEMORY, at(folder, seed=3), None, folder)
    with pytest.raises(Killed):
        with leftovers.set_aside(folder, where=True):
            assert not folder.exists()
            folder.mkdir()
            raise Killed
    assert run_folder.read_config(MEMORY, folder).run.seed == 3
    with leftovers.set_aside(folder, where=True) as discard:
        discard()
    assert not any(tmp_path.iterdir())
