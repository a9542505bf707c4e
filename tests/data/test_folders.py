"""Files of a folder: none vanishes unsaid."""

from attention_jax.data import folders


def write(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return [root / name for name in names]


def test_what_was_not_used_is_counted_by_kind(tmp_path):
    used = write(tmp_path, "a/0.png", "b/1.png")
    write(tmp_path, "a/deep/2.png", "a/deep/3.PNG", "notes.txt", "a/LICENSE", "a/.DS_Store")
    write(tmp_path, "__MACOSX/a/._0.png", ".git/config", "b/Thumbs.db")
    found = folders.unused(tmp_path, used, beside=(".png",))
    assert found == {".png in a/deep/": 2, ".txt": 1, "hidden": 4, "without a suffix": 1}
    assert folders.in_words(found) == "4 hidden, 2 .png in a/deep/, 1 .txt, 1 without a suffix"
    assert folders.unused(tmp_path, list(tmp_path.rglob("*"))) == {}


def test_of_many_kinds_the_first_are_named():
    counts = {f".{n}": 10 - n for n in range(9)}
    assert folders.in_words(counts).endswith("5 .5, 9 of other kinds")
