"""Folders that appear whole: filled under another name, and renamed at the end."""

import os

import pytest

from attention_jax.core.files import whole_folder


@pytest.mark.parametrize("is_there", [False, True])
def test_a_new_or_an_empty_folder_is_filled(tmp_path, is_there):
    output = tmp_path / "above" / "own"
    if is_there:
        output.mkdir(parents=True)
    with whole_folder(output) as unfinished:
        (unfinished / "a").write_text("1")
        assert not is_there or not os.listdir(output)
    assert os.listdir(output) == ["a"] and os.listdir(output.parent) == ["own"]


def test_nothing_is_left_of_one_that_fails(tmp_path):
    with pytest.raises(KeyError), whole_folder(tmp_path / "own") as unfinished:
        (unfinished / "a").write_text("1")
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_what_is_there_is_not_touched(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a").write_text("1")
    (tmp_path / "file").write_text("2")
    for name in ("own", "file"):
        with (
            pytest.raises(ValueError, match="`path` must be a new or an empty folder"),
            whole_folder(tmp_path / name),
        ):
            pass
    assert (tmp_path / "own" / "a").read_text() == "1"
    assert sorted(os.listdir(tmp_path)) == ["file", "own"]
