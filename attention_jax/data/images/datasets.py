"""Image datasets: scikit-learn's digits, files in MNIST's format, or a folder of images.

data = load("digits")
data = load("fashion_mnist", data_dir="data")
data = load("my_images", image_size=32)       # my_images/<label>/<file>.png
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attention_jax.core import checks
from attention_jax.core.extras import needed
from attention_jax.core.plain_types import typed_calls
from attention_jax.data.folders import unused
from attention_jax.data.images import files
from attention_jax.data.images.files import Labeled

DIGITS = "digits"
FASHION = tuple(
    "T-shirt/top,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot".split(",")
)
# Possible names of the folder of each split.
SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}


class ImageData(NamedTuple):
    """Labeled images in disjoint splits.

    Attributes:
      name: name of the dataset.
      classes: name of each class.
      train, validation, test: images from 0 to 255, and their labels.
      skipped: number of images left out, being damaged or labeled out of range.
      unused: numbers of the other files of its folder, by their kind.
    """

    name: str
    classes: tuple[str, ...]
    train: Labeled
    validation: Labeled
    test: Labeled
    skipped: int = 0
    unused: Mapping[str, int] = {}


@typed_calls
def load(
    data: str,
    *,
    data_dir: str = ".",
    classes: int | None = None,
    image_size: int | None = None,
    skip_bad: bool = False,
    ground: str = "white",
) -> ImageData:
    """Loads a dataset by name.

    Args:
      data: "digits"; or a folder, as it is or in `data_dir`, that holds the four files of MNIST
        (train-images-idx3-ubyte, train-labels-idx1-ubyte and the two of t10k, each also as .gz)
        or a folder of images (PNG, JPEG, WebP, BMP, TIFF, GIF) for each label. If it has a folder
        train, splits are train, validation (or valid, or val) and test, each with its labels;
        missing splits are held out, a tenth of each label.
      data_dir: folder of datasets.
      classes: number of classes of MNIST's files, if not 10.
      image_size: size in pixels to which a folder of images is resized, both ways.
      skip_bad: leaves out bad images and counts them, instead of raising the first.
      ground: what shows where images are transparent, one of `files.GROUNDS`.

    Raises:
      FileNotFoundError: there is no such folder, or a file is missing.
      ValueError: a file is damaged, sizes differ, a label is out of range, or a folder of images
        belongs to no split.
    """
    for name, size in (("classes", classes), ("image_size", image_size)):
        if size is not None:
            checks.positive(name, size)
    checks.one_of("ground", ground, files.GROUNDS)
    if data == DIGITS:
        return _digits()
    folder = next((f for f in (Path(data), Path(data_dir) / data) if os.path.isdir(f)), None)
    if folder is None:
        raise FileNotFoundError(
            f"`data` must be {DIGITS} or a folder; there is none at {data}, and none at "
            f"{Path(data_dir) / data}. Name another, or the place of the data sets by --data_dir."
        )
    if files.is_idx(folder):
        return _mnist(folder, classes or 10, skip_bad)
    return _images(folder, image_size, skip_bad, ground)


def _digits() -> ImageData:
    """1,797 handwritten digits of 8 x 8 pixels.

    Reference: Alpaydin and Kaynak 1998, UCI repository, doi.org/10.24432/C50P49; the copy of
    scikit-learn.
    """
    # It takes a second to import.
    with needed("images"):
        from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    whole = Labeled(pixels, labels.astype(np.int32))
    rest, test = held_out(whole, one_in=5)
    train, validation = held_out(rest)
    return ImageData(DIGITS, tuple(map(str, range(10))), train, validation, test)


def _mnist(folder: Path, classes: int, skip_bad: bool) -> ImageData:
    (given, skipped), (test, more) = (
        files.read_idx(folder, split, classes=classes, skip_bad=skip_bad)
        for split in ("train", "t10k")
    )
    if given.images.shape[1:] != test.images.shape[1:]:
        raise ValueError(
            "images of `data` must have one size; those of train have "
            f"{given.images.shape[1:3]} pixels in {folder}, those of t10k "
            f"{test.images.shape[1:3]}. Take all four files from one dataset."
        )
    train, validation = held_out(given)
    names = FASHION if "fashion" in folder.name and classes == 10 else map(str, range(classes))
    return ImageData(folder.name, tuple(names), train, validation, test, skipped + more)


def _images(folder: Path, image_size: int | None, skip_bad: bool, ground: str) -> ImageData:
    roots = _roots(folder)
    names = files.labels_of(roots["train"])
    paths, splits, labels = [], [], []
    for split, root in roots.items():
        for label, name in enumerate(_known(files.labels_of(root), names, root)):
            found = files.images_in(root / name) if os.path.isdir(root / name) else []
            paths += found
            splits += [split] * len(found)
            labels += [label] * len(found)
    images, kept = files.read_images(paths, size=image_size, skip_bad=skip_bad, ground=ground)
    of_split, label = np.array(splits)[kept], np.array(labels, np.int32)[kept]
    found = {s: Labeled(images[of_split == s], label[of_split == s]) for s in roots}
    for missing in ("test", "validation"):
        if missing not in found:
            found["train"], found[missing] = held_out(found["train"])
    others = unused(folder, paths, beside=files.SUFFIXES)
    skipped = len(paths) - len(kept)
    return ImageData(folder.name, names, **found, skipped=skipped, unused=others)


def _roots(folder: Path) -> dict[str, Path]:
    """Folder of each split that has one; without a folder train, everything is for training."""
    found = {
        split: folder / name
        for split, names in SPLITS.items()
        for name in names
        if os.path.isdir(folder / name)
    }
    if "train" in found:
        unused = sorted(set(filter(Path.is_dir, folder.iterdir())) - set(found.values()))
    else:
        unused, found = list(found.values()), {"train": folder}
    for other in unused:
        if any(files.images_in(label) for label in other.iterdir() if os.path.isdir(label)):
            raise ValueError(
                "`data` must hold its splits as train, validation (or valid, or val) and test, one "
                f"folder of each and never without train; what {other} holds would not be used. "
                "Rename it, or move it elsewhere."
            )
    return found


def _known(found: Sequence[str], names: Sequence[str], root: Path) -> Sequence[str]:
    """All labels, after a check that those of a split are among them."""
    others = sorted(set(found) - set(names))
    if others:
        raise ValueError(
            f"labels of `data` must be those of its folder train; {root} has {others[0]} too, and "
            f"train {', '.join(names)}. Rename or remove it."
        )
    return names


@typed_calls
def held_out(whole: Labeled, *, one_in: int = 10) -> tuple[Labeled, Labeled]:
    """Splits off a share of each label, the same in every run: the rest, and the share.

    Raises:
      ValueError: no label has enough images.
    """
    generator, taken = np.random.default_rng(0), np.zeros(len(whole.labels), bool)
    for label in np.unique(whole.labels):
        own = generator.permutation(np.flatnonzero(whole.labels == label))
        # A label with few images gives one, if it keeps two.
        count = max(len(own) // one_in, int(len(own) > 2))
        taken[own[:count]] = True
    if not taken.any():
        raise ValueError(
            "`data` must hold at least 3 images of a label, of which one is held out; got "
            f"{len(whole.labels)} images of {len(np.unique(whole.labels))} labels."
        )
    return Labeled(*(x[~taken] for x in whole)), Labeled(*(x[taken] for x in whole))
