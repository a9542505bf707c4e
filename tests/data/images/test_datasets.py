"""Data sets of pictures: their splits share nothing, and are the same in every run."""

import struct

import numpy as np
import pytest
from PIL import Image

from attention_jax.data.images import datasets
from attention_jax.data.images.datasets import held_out, load
from attention_jax.data.images.files import Labeled
from tests.support.mnist_files import IMAGES, LABELS, write
from tests.support.paths import DATA

REAL = DATA


def counts(part):
    return np.bincount(part.labels, minlength=10)


@pytest.mark.slow
def test_digits_are_split_by_label():
    data = load("digits")
    sizes = [len(part.labels) for part in (data.train, data.validation, data.test)]
    assert sum(sizes) == 1797 and data.classes == tuple("0123456789") and not data.skipped
    assert data.train.images.shape[1:] == (8, 8, 1) and data.train.images.max() == 255
    assert np.ptp(counts(data.test)) <= 2 and np.ptp(counts(data.validation)) <= 1
    again = load("digits")
    np.testing.assert_array_equal(data.test.images, again.test.images)


def test_what_is_held_out_is_not_learned():
    labels = np.repeat(np.arange(3), [30, 5, 1])
    whole = Labeled(np.arange(36, dtype=np.uint8).reshape(36, 1, 1, 1), labels)
    rest, taken = held_out(whole)
    assert np.bincount(taken.labels).tolist() == [3, 1]
    both = np.concatenate([rest.images, taken.images]).ravel()
    assert sorted(both) == list(range(36))
    with pytest.raises(ValueError, match="at least 3 images of a label"):
        held_out(Labeled(whole.images[:2], np.arange(2)))


def test_mnist_format_needs_all_four_files_of_one_size(tmp_path):
    write(tmp_path, IMAGES, LABELS)
    with pytest.raises(FileNotFoundError, match="t10k"):
        load(str(tmp_path))
    write(tmp_path, IMAGES[:8] + IMAGES[12:16] + IMAGES[8:12] + IMAGES[16:], LABELS, split="t10k")
    with pytest.raises(ValueError, match=r"one size; those of train have \(2, 3\) .*\(3, 2\)"):
        load(str(tmp_path))


def draw(folder, label, count, *, seed):
    (folder / label).mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for number in range(count):
        pixels = generator.integers(0, 256, (4, 4), np.uint8)
        Image.fromarray(pixels).save(folder / label / f"{number}.png")


@pytest.mark.parametrize("packed", [False, True])
def test_names_of_mnist_format_may_have_a_dot_before_idx(tmp_path, packed):
    images = struct.pack(">4BIII", 0, 0, 8, 3, 6, 2, 3) + bytes(36)
    labels = struct.pack(">4BI", 0, 0, 8, 1, 6) + bytes([0, 1] * 3)
    for split in ("train", "t10k"):
        write(tmp_path, images, labels, packed, split)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("-idx", ".idx"))
    data = load(str(tmp_path), classes=2)
    sizes = [len(part.labels) for part in (data.train, data.validation, data.test)]
    assert sizes == [4, 2, 6]


def test_a_folder_is_split_where_it_is_not(tmp_path):
    draw(tmp_path, "cat", 10, seed=0)
    draw(tmp_path, "dog", 10, seed=1)
    (tmp_path / "dog" / "broken.png").write_bytes(b"")
    with pytest.raises(ValueError, match="broken.png is damaged"):
        load(tmp_path.name, data_dir=str(tmp_path.parent))
    data = load(tmp_path.name, data_dir=str(tmp_path.parent), skip_bad=True)
    assert data.classes == ("cat", "dog") and data.skipped == 1 and data.name == tmp_path.name
    sizes = [len(part.labels) for part in (data.train, data.validation, data.test)]
    assert sizes == [16, 2, 2]


def test_given_splits_stay_as_they_are(tmp_path):
    for seed, (split, count) in enumerate((("train", 4), ("validation", 1), ("test", 2))):
        draw(tmp_path / split, "cat", count, seed=seed)
        draw(tmp_path / split, "dog", count, seed=seed + 10)
    data = load(str(tmp_path))
    sizes = [len(part.labels) for part in (data.train, data.validation, data.test)]
    assert sizes == [8, 2, 4]
    for label in ("fox", "emu"):
        draw(tmp_path / "test", label, 1, seed=0)
    with pytest.raises(ValueError, match="those of its folder train; .*test has emu too"):
        load(str(tmp_path))


@pytest.mark.parametrize("called", ["validation", "valid", "val"])
def test_a_validation_split_goes_by_its_usual_names(tmp_path, called):
    for split, count in (("train", 4), (called, 3)):
        draw(tmp_path / split, "cat", count, seed=0)
        draw(tmp_path / split, "dog", count, seed=1)
    data = load(str(tmp_path))
    sizes = [len(part.labels) for part in (data.train, data.validation, data.test)]
    assert sizes == [6, 6, 2]


@pytest.mark.parametrize("splits", [("train", "dev"), ("train", "val", "valid"), ("test",)])
def test_no_folder_of_pictures_is_left_out_unsaid(tmp_path, splits):
    (tmp_path / "notes").mkdir()
    for label in ("cat", "dog"):
        for folder in (tmp_path, *(tmp_path / split for split in splits)):
            draw(folder, label, 4, seed=0)
    with pytest.raises(ValueError, match="`data` must hold its splits as train.* would not be"):
        load(str(tmp_path))


def test_a_name_must_stand_for_something(tmp_path):
    with pytest.raises(FileNotFoundError, match="`data` must be digits or a folder; .* at cats"):
        load("cats", data_dir=str(tmp_path))


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "fashion_mnist").is_dir(), reason="needs Fashion-MNIST")
def test_fashion_mnist_is_as_published():
    data = load("fashion_mnist", data_dir=str(REAL))
    assert counts(data.test).tolist() == [1000] * 10 and data.classes == datasets.FASHION
    assert (counts(data.train) + counts(data.validation)).tolist() == [6000] * 10
    # The mean and the spread that everyone normalises by.
    whole = np.concatenate([data.train.images, data.validation.images]) / 255
    assert (whole.mean(), whole.std()) == pytest.approx((0.2860, 0.3530), abs=1e-4)
