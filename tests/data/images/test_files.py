"""Files of pictures, written by hand byte by byte; and all that can be wrong with them."""

import gzip
import struct

import numpy as np
import pytest
from PIL import Image

from attention_jax.data.images.files import (
    images_in,
    is_idx,
    labels_of,
    read_idx,
    read_image,
    read_images,
    read_items,
)
from tests.support.mnist_files import IMAGES, LABELS, write


@pytest.mark.parametrize("packed", [False, True])
def test_bytes_are_read_as_the_format_says(tmp_path, packed):
    found, skipped = read_idx(write(tmp_path, packed=packed), "train", classes=2)
    np.testing.assert_array_equal(found.images[1, :, :, 0], [[6, 7, 8], [9, 10, 11]])
    assert found.images.shape == (3, 2, 3, 1) and found.images.dtype == np.uint8
    assert found.labels.tolist() == [1, 0, 1] and skipped == 0
    assert is_idx(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"images": b""}, "begins with nothing, not with 00 00 08 03"),
        ({"images": LABELS}, "begins with 00 00 08 01, not with 00 00 08 03. Fetch it again"),
        ({"images": b"\0\0\x0d\3" + IMAGES[4:]}, "begins with"),
        ({"images": IMAGES + b"x"}, "says 3 items of 6 and holds 19 bytes"),
        ({"images": IMAGES[:-7]}, "train-images.* ends after 1 of 3 items. .*--skip_bad"),
        ({"labels": LABELS[:-1]}, "train-labels.* ends after 2 of 3 items"),
        ({"labels": struct.pack(">4BI", 0, 0, 8, 1, 2) + b"\0\1"}, "3 images .* 2 labels"),
        ({"labels": LABELS[:-1] + b"\x09"}, "between 0 and 1; that of image 2 .* is 9, 1 such"),
    ],
)
def test_a_damaged_file_is_one_clear_line(tmp_path, files, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(write(tmp_path, **files), "train", classes=2)
    assert "\n" not in str(caught.value) and "`data`" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    write(tmp_path)
    with pytest.raises(FileNotFoundError, match="has no t10k-images-idx3-ubyte or t10k-images"):
        read_idx(tmp_path, "t10k", classes=2)


def test_the_rest_is_used_where_it_is_asked_for(tmp_path):
    found, skipped = read_idx(
        write(tmp_path, images=IMAGES[:-1], labels=LABELS[:-3] + b"\x05\0\1"),
        "train",
        classes=2,
        skip_bad=True,
    )
    # The third picture is cut off and the first has a wrong label.
    assert found.labels.tolist() == [0] and skipped == 2
    np.testing.assert_array_equal(found.images[0, :, :, 0], [[6, 7, 8], [9, 10, 11]])


def test_a_packed_file_that_was_cut_off_gives_what_is_before(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (50, 20, 20), np.uint8)
    path = tmp_path / "images.gz"
    whole = gzip.compress(struct.pack(">4BIII", 0, 0, 8, 3, 50, 20, 20) + noise.tobytes())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="ends after 2. of 50 items"):
        read_items(path, 3)
    found = read_items(path, 3, skip_bad=True)
    assert found.declared == 50 and 20 <= len(found.array) < 26
    np.testing.assert_array_equal(found.array, noise[: len(found.array)])


@pytest.mark.parametrize("skip_bad", [False, True])
def test_of_a_damaged_package_nothing_is_used(tmp_path, skip_bad):
    path = tmp_path / "labels.gz"
    packed = bytearray(gzip.compress(LABELS))
    packed[-5] ^= 1  # of the checksum
    path.write_bytes(packed)
    with pytest.raises(ValueError, match="can be unpacked; .*labels.gz is damaged"):
        read_items(path, 1, skip_bad=skip_bad)


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).convert(mode).save(path) if mode else Image.fromarray(array).save(path)
    return path


@pytest.fixture
def grey():
    return np.random.default_rng(0).integers(0, 256, (4, 6), np.uint8)


def test_pictures_keep_their_pixels_and_colours(tmp_path, grey):
    coloured = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)
    paths = [save(tmp_path / "a.png", grey), save(tmp_path / "b.PNG", coloured)]
    images, numbers = read_images(paths[:1])
    np.testing.assert_array_equal(images[0, :, :, 0], grey)
    images, numbers = read_images(paths)
    np.testing.assert_array_equal(images, [np.stack([grey] * 3, axis=-1), coloured])
    assert numbers.tolist() == [0, 1]
    assert read_images(paths, size=3)[0].shape == (2, 3, 3, 3)


def test_one_picture_takes_the_size_and_channels_of_others(tmp_path, grey):
    coloured = np.random.default_rng(1).integers(0, 256, (5, 3, 3), np.uint8)
    paths = [save(tmp_path / "a.png", grey), save(tmp_path / "b.png", coloured)]
    both, _ = read_images(paths, size=3)
    for path, wanted, own in zip(paths, both, ((4, 6), (5, 3)), strict=True):
        found, size = read_image(path, height=3, width=3, channels=3)
        np.testing.assert_array_equal(found, wanted)
        assert size == own
    found, _ = read_image(paths[0], height=4, width=6, channels=1)
    np.testing.assert_array_equal(found[..., 0], grey)
    # Grey as ITU-R 601 weighs colours, which Pillow rounds.
    found, _ = read_image(paths[1], height=5, width=3, channels=1)
    assert np.abs(found[..., 0] - coloured @ [0.299, 0.587, 0.114]).max() <= 1
    paths[0].write_bytes(b"nothing")
    with pytest.raises(ValueError, match="`--file` must hold images that can be read"):
        read_image(paths[0], height=3, width=3, channels=1, argument="--file")


def test_bad_pictures_are_one_clear_line_each(tmp_path, grey):
    good, other = save(tmp_path / "a.png", grey), save(tmp_path / "b.png", grey[:3])
    cut, text, deep = (tmp_path / name for name in ("cut.png", "text.jpg", "deep.png"))
    cut.write_bytes(good.read_bytes()[:-30])
    text.write_text("not a picture")
    Image.fromarray(grey.astype(np.uint16) * 256).save(deep)
    for path, message in (
        (cut, "can be read; .*cut.png is damaged or no image"),
        (text, "text.jpg is damaged or no image"),
        (deep, "eight bits a channel; .*deep.png is of Pillow's mode I;16"),
        (other, r"one size; .*a.png has 6 x 4 pixels and .*b.png 6 x 3. .*--image_size"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            read_images([good, path])
        assert "\n" not in str(caught.value)
    again = save(tmp_path / "again.png", grey)
    images, numbers = read_images([other, good, cut, text, deep, again], skip_bad=True)
    assert numbers.tolist() == [1, 5] and images.shape == (2, 4, 6, 1)
    with pytest.raises(ValueError, match="got 2 damaged"):
        read_images([cut, text], skip_bad=True)


def test_labels_are_folders_with_pictures(tmp_path, grey):
    save(tmp_path / "dog" / "1.jpeg", grey)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read.me").write_text("")
    with pytest.raises(ValueError, match="two labels or more; .* holds dog. Files end in .png"):
        labels_of(tmp_path)
    save(tmp_path / "cat" / "1.png", grey)
    assert labels_of(tmp_path) == ("cat", "dog")


INK = np.array([[0, 255], [128, 0]], np.uint8)  # opacity of black


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_ink_on_a_clear_ground_is_seen(tmp_path, mode):
    clear = Image.fromarray(np.stack([np.zeros_like(INK)] * 3 + [INK], -1), "RGBA")
    path = tmp_path / "ink.png"
    (clear.quantize() if mode == "P" else clear.convert(mode)).save(path)
    size = {"height": 2, "width": 2, "channels": 1}
    white, _ = read_image(path, **size)
    black, _ = read_image(path, **size, ground="black")
    # A pixel of opacity a over white is 255 - a.
    np.testing.assert_allclose(white[..., 0], 255.0 - INK, atol=1)
    assert not black.any()
    many, _ = read_images([path, path], ground="white")
    np.testing.assert_allclose(many[1, ..., 0], 255.0 - INK, atol=1)


@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".tiff", ".gif"])
def test_other_formats_are_read(tmp_path, suffix):
    pixels = np.arange(0, 240, 15, dtype=np.uint8).reshape(4, 4)
    path = tmp_path / f"a{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(pixels).save(path, **options)
    found, _ = read_image(path, height=4, width=4, channels=1)
    np.testing.assert_array_equal(found[..., 0], pixels)
    assert images_in(tmp_path) == [path]


def test_hidden_folders_are_no_labels(tmp_path):
    for name in ("a", "b", "__MACOSX", ".cache"):
        (tmp_path / name).mkdir()
        Image.new("L", (2, 2)).save(tmp_path / name / "0.png")
    assert labels_of(tmp_path) == ("a", "b")
