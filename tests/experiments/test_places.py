"""What flags name for writing is refused before anything is written, where nothing can be."""

import os

import pytest

from experiments.common import places


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for name, target in {
        "to": "folder",
        "to_file": "file",
        "lost": "no/where",
        "loop": "loop",
    }.items():
        os.symlink(target, name)
    yield
    kept = {"file", "folder", "to", "to_file", "lost", "loop"}
    assert {path.name for path in tmp_path.rglob("*")} == kept, "nothing is made"


@pytest.mark.parametrize(
    "name", [".", "folder", "new", "folder/a/b", "to", "to/new", "\u6587/\udcff"]
)
def test_a_folder_is_there_or_can_be_made(name):
    assert str(places.folder("run", name)) == name


@pytest.mark.parametrize("name", ["file", "new", "folder/a/b", "to/new", "to_file", "/dev/null"])
def test_a_file_is_there_or_can_be_written(name):
    assert str(places.file("output", name)) == name


@pytest.mark.parametrize("name", ["file", "file/new", "to_file/a/b", "lost", "loop", "/dev/null/x"])
def test_there_is_no_folder_under_a_file_or_at_a_link_to_nothing(name):
    with pytest.raises(
        ValueError, match="`--run` must be a folder, or a place for one; got .*is a"
    ):
        places.folder("run", name)


@pytest.mark.parametrize("name", ["", ".", "folder", "to", "file/new", "lost"])
def test_there_is_no_file_where_a_folder_is(name):
    with pytest.raises(ValueError, match="`--output` must be a file, or a place for one; got"):
        places.file("output", name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a" * 256, "names up to 255 bytes; got 'aaaaaaaaaaaaaaaaaaaa' and so on"),
        ("new/" + "\u6587" * 90, "names up to 255 bytes"),
        ("a\0b", "must be a path"),
        ("~/x", "whose ~ the shell leaves as it is .* Write --run ~/x, with a space"),
    ],
)
def test_names_that_no_path_has_are_refused(name, message):
    for place in (places.folder, places.file):
        with pytest.raises(ValueError, match=message) as error:
            place("run", name)
        assert "\n" not in str(error.value)
