import errno
import os

import numpy as np
import pytest

from attention_jax.core.files import content_hash, whole, write_whole


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "a.json"
    write_whole(path, "one\n")
    write_whole(path, b"two\n")
    assert path.read_bytes() == b"two\n"
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_what_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch, failing):
    path = tmp_path / "a.json"
    write_whole(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if failing == "fsync" else ("pathlib.Path.replace",)), full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_file_in_pieces_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    with whole(path) as file:
        file.write(b"one\n")
        file.flush()
        assert not path.exists()
        file.write(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    with pytest.raises(KeyboardInterrupt), whole(path) as file:
        file.write(b"three\n")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"one\ntwo\n" and os.listdir(tmp_path) == ["a.txt"]


def test_links_are_followed_and_what_is_no_file_is_written_to(tmp_path):
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(tmp_path / "a.txt")
    write_whole(link, "one\n")
    assert link.is_symlink() and (tmp_path / "a.txt").read_text() == "one\n"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, "two\n")
    assert os.read(reader, 9) == b"two\n" and sorted(os.listdir(tmp_path)) == [
        "a.txt",
        "link",
        "pipe",
    ]
    os.close(reader)


def test_equal_contents_have_equal_numbers():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert content_hash({"b": x, "a": lambda: ["t"]}) == content_hash(
        {"a": ("t",), "b": np.asfortranarray(x)}
    )


@pytest.mark.parametrize(
    "other",
    [
        [["ab", "c"], 1, np.zeros(2, np.float32)],
        [["a", "bc"], 2, np.zeros(2, np.float32)],
        [["a", "bc"], 1, np.zeros(2, np.float64)],
        [["a", "bc"], 1, np.zeros((2, 1), np.float32)],
        [["a", "bc"], 1, np.asarray([0, -0.0], np.float32)],
        [["a"], ["bc"], 1, np.zeros(2, np.float32)],
        [["a", b"bc"], 1, np.zeros(2, np.float32)],
        [["a", "bc"], True, np.zeros(2, np.float32)],
        [["a", "bc"], 1, None],
    ],
)
def test_other_contents_have_other_numbers(other):
    assert content_hash([["a", "bc"], 1, np.zeros(2, np.float32)]) != content_hash(other)


def test_what_has_no_content_is_refused():
    with pytest.raises(TypeError, match="texts, numbers and arrays; got object"):
        content_hash([object()])
