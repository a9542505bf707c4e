"""Lines of files, packed or not, and what is said of files that cannot be read."""

import gzip
import zipfile

import pytest

from attention_jax.data.text_files import line_numbers, one_spaced, read_lines, read_text

TEXT = "¿qué?\nuna línea\u2028con separador\n\nfin\n"
LINES = ["¿qué?", "una línea\u2028con separador", "", "fin"]


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "texts.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("folder/", "")
        opened.writestr("folder/_about.txt", "notes")
        opened.writestr("folder/text.txt", TEXT)
    return path


def test_plain_gzipped_and_zipped_are_alike(tmp_path, archive):
    (tmp_path / "plain.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "packed.gz").write_bytes(gzip.compress(TEXT.encode()))
    for path in ("plain.txt", "packed.gz", "texts.zip", "texts.zip/folder/text.txt"):
        assert read_lines(tmp_path / path, argument="source") == LINES
        assert read_lines(str(tmp_path / path), argument="source") == LINES
    assert read_lines(archive / "folder/_about.txt", argument="source") == ["notes"]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"\xef\xbb\xbfa\nb", ["a", "b"]),
        (b"a\n\n", ["a", ""]),
    ],
)
def test_line_ends(tmp_path, data, lines):
    (tmp_path / "file").write_bytes(data)
    assert read_lines(tmp_path / "file", argument="source") == lines


def test_missing_files_are_named(tmp_path, archive):
    with pytest.raises(FileNotFoundError, match=r"`target` must name a file; .*none\.txt does not"):
        read_lines(tmp_path / "none.txt", argument="target")
    with pytest.raises(FileNotFoundError, match=r"is a folder"):
        read_lines(tmp_path, argument="target")
    with pytest.raises(FileNotFoundError, match=r"none\.zip does not exist"):
        read_lines(tmp_path / "none.zip", argument="target")
    with pytest.raises(FileNotFoundError, match=r"it has no b\.txt\. It holds folder/_about"):
        read_lines(archive / "b.txt", argument="target")


def test_an_archive_of_several_texts_needs_a_name(archive):
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("folder/more.txt", "more")
    with pytest.raises(ValueError, match=r"must say which file .*texts\.zip/folder/text\.txt"):
        read_lines(archive, argument="source")


def test_an_empty_archive_says_so(tmp_path):
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(ValueError, match="it holds no file"):
        read_lines(tmp_path / "empty.zip", argument="source")


def test_other_encodings_are_placed(tmp_path):
    (tmp_path / "latin.txt").write_bytes("uno\ndos\nseñor\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"`source` must be UTF-8 text; line 3 of .* byte 0xf1"):
        read_lines(tmp_path / "latin.txt", argument="source")


def packed(kind):
    import io

    if kind == "gz":
        return gzip.compress(TEXT.encode() * 100)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("text.txt", TEXT * 100)
    return buffer.getvalue()


def cut(data):
    return data[: len(data) // 2]


def changed(data):
    middle = len(data) // 2 - 10
    return data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, changed, lambda data: b"no archive at all"])
@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_damaged_archives_are_one_clear_error(tmp_path, kind, damage):
    path = tmp_path / f"file.{kind}"
    path.write_bytes(damage(packed(kind)))
    with pytest.raises(ValueError, match="that can be unpacked.*Fetch it again") as caught:
        read_lines(path, argument="source")
    assert "\n" not in str(caught.value)


def test_spaces_become_one():
    assert one_spaced("  a  b \t c ") == "a b c"
    assert one_spaced("a\u00a0b") == "a\u00a0b"


def test_line_numbers_are_few():
    assert line_numbers([1, 2]) == "lines 1, 2"
    assert line_numbers(range(1, 100)) == "lines 1, 2, 3, 4, 5 and 94 more"


@pytest.mark.parametrize("read", [read_lines, read_text])
def test_a_nul_is_refused_with_its_line(tmp_path, read):
    path = tmp_path / "wide.txt"
    path.write_bytes(b"one\ntwo\n" + "three".encode("utf-16-le"))
    with pytest.raises(ValueError, match=r"line 3 of .*wide\.txt holds a NUL.*iconv -f UTF-16LE"):
        read(path, argument="source")
