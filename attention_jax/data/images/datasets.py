"""Labelled pictures: scikit-learn's digits, files in the format of MNIST, or a folder of pictures.

data = load("digits")
data = load("fashion_mnist", data_dir="../shared/data")
data = load("my_pictures", image_size=32)       # my_pictures/<label>/<file>.png
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attention_jax.core.extras import needed
from attention_jax.data.images import files
from attention_jax.data.images.files import Labelled

DIGITS = "digits"
FASHION = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker",
           "bag", "ankle boot")  # fmt: skip
# What the folder of each split may be called.
SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}


class ImageData(NamedTuple):
    """Pictures to learn from; no split shares one with another.

    Attributes:
      name: of the data.
      classes: what a label means.
      train, validation, test: pictures from 0 to 255, and their labels.
      skipped: how many were left out, being damaged or labelled out of range.
    """

    name: str
    classes: tuple[str, ...]
    train: Labelled
    validation: Labelled
    test: Labelled
    skipped: int = 0


def load(
    data: str,
    *,
    data_dir: str = ".",
    classes: int | None = None,
    image_size: int | None = None,
    skip_bad: bool = False,
) -> ImageData:
    """The data that a name stands for.

    Args:
      data: "digits"; or a folder, as it is or in `data_dir`, that holds the four files of MNIST
        (train-images-idx3-ubyte, train-labels-idx1-ubyte and the two of t10k, each also as .gz)
        or a folder of PNG or JPEG files for each label. Splits are the folders train, validation
        (or valid, or val) and test where there is train, each with its labels; what is not there
        is held out, a tenth of each label.
      data_dir: where data sets lie.
      classes: of MNIST's files, if not 10: labels go from 0 to one less.
      image_size: of a folder of pictures: all are resized to so many pixels each way.
      skip_bad: leaves out pictures that are damaged or wrong, and counts them, where otherwise
        the first one is an error.

    Raises:
      FileNotFoundError: there is no such folder, or a file is missing.
      ValueError: a file is damaged, sizes differ, a label is out of range, or a folder of
        pictures belongs to no split.
    """
    if data == DIGITS:
        return _digits()
    folder = next((f for f in (Path(data), Path(data_dir) / data) if f.is_dir()), None)
    if folder is None:
        raise FileNotFoundError(
            f"`data` must be {DIGITS} or a folder; there is none at {data}, and none at "
            f"{Path(data_dir) / data}. Name another, or the place of the data sets by --data_dir."
        )
    if files.is_idx(folder):
        return _mnist(folder, classes or 10, skip_bad)
    return _pictures(folder, image_size, skip_bad)


def _digits() -> ImageData:
    """1,797 handwritten digits of 8 x 8 pixels.

    Reference: Alpaydin and Kaynak 1998, UCI repository, doi.org/10.24432/C50P49; the copy of
    scikit-learn.
    """
    # It imports in a second, which only those who ask for it should wait.
    with needed("images"):
        from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    whole = Labelled(pixels, labels.astype(np.int32))
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
            "pictures of `data` must be of one size; those of train have "
            f"{given.images.shape[1:3]} pixels in {folder}, those of t10k "
            f"{test.images.shape[1:3]}. Take all four files from one data set."
        )
    train, validation = held_out(given)
    names = FASHION if "fashion" in folder.name and classes == 10 else map(str, range(classes))
    return ImageData(folder.name, tuple(names), train, validation, test, skipped + more)


def _pictures(folder: Path, image_size: int | None, skip_bad: bool) -> ImageData:
    roots = _roots(folder)
    names = files.labels_of(roots["train"])
    paths, splits, labels = [], [], []
    for split, root in roots.items():
        for label, name in enumerate(_known(files.labels_of(root), names, root)):
            found = files.pictures_in(root / name) if (root / name).is_dir() else []
            paths += found
            splits += [split] * len(found)
            labels += [label] * len(found)
    images, kept = files.read_pictures(paths, size=image_size, skip_bad=skip_bad)
    of_split, label = np.array(splits)[kept], np.array(labels, np.int32)[kept]
    found = {s: Labelled(images[of_split == s], label[of_split == s]) for s in roots}
    for missing in ("test", "validation"):
        if missing not in found:
            found["train"], found[missing] = held_out(found["train"])
    return ImageData(folder.name, names, **found, skipped=len(paths) - len(kept))


def _roots(folder: Path) -> dict[str, Path]:
    """The folder of each split that has one; all is for training where there is no train."""
    found = {
        split: folder / name
        for split, names in SPLITS.items()
        for name in names
        if (folder / name).is_dir()
    }
    if "train" in found:
        unused = sorted(set(filter(Path.is_dir, folder.iterdir())) - set(found.values()))
    else:
        unused, found = list(found.values()), {"train": folder}
    for other in unused:
        if any(files.pictures_in(label) for label in other.iterdir() if label.is_dir()):
            raise ValueError(
                "`data` must hold its splits as train, validation (or valid, or val) and test, one "
                f"folder of each and never without train; what {other} holds would not be used. "
                "Rename it, or move it elsewhere."
            )
    return found


def _known(found: Sequence[str], names: Sequence[str], root: Path) -> Sequence[str]:
    """All labels, where those of a split are among them."""
    others = sorted(set(found) - set(names))
    if others:
        raise ValueError(
            f"labels of `data` must be those of its folder train; {root} has {others[0]} too, and "
            f"train {', '.join(names)}. Rename or remove it."
        )
    return names


def held_out(whole: Labelled, *, one_in: int = 10) -> tuple[Labelled, Labelled]:
    """The pictures without a share of each label, and that share; the same in every run.

    Raises:
      ValueError: no label has enough pictures.
    """
    generator, taken = np.random.default_rng(0), np.zeros(len(whole.labels), bool)
    for label in np.unique(whole.labels):
        own = generator.permutation(np.flatnonzero(whole.labels == label))
        # A label with few pictures gives one, if it keeps two.
        count = max(len(own) // one_in, int(len(own) > 2))
        taken[own[:count]] = True
    if not taken.any():
        raise ValueError(
            "`data` must hold at least 3 pictures of a label, of which one is held out; got "
            f"{len(whole.labels)} pictures of {len(np.unique(whole.labels))} labels."
        )
    return Labelled(*(x[~taken] for x in whole)), Labelled(*(x[taken] for x in whole))
