"""Files of labelled pictures: MNIST's format, and folders of PNG and JPEG files.

What is damaged is an error of one line; with `skip_bad` it is left out and counted, wherever it is
certain which pictures are whole.
"""

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from attention_jax.core.extras import needed

with needed("images"):
    from PIL import Image, ImageOps

SUFFIXES = (".png", ".jpg", ".jpeg")
# Pillow's names of pictures with eight bits a channel or fewer, without colour and with it.
_GREY, _COLOURED = (
    ("1", "L", "LA", "La"),
    ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"),
)


class Labelled(NamedTuple):
    """Pictures from 0 to 255, and what each shows."""

    images: UInt8[np.ndarray, "n y x c"]
    labels: Int[np.ndarray, " n"]


class Items(NamedTuple):
    """What a file of MNIST's format holds, and how many items it says it has."""

    array: np.ndarray
    declared: int


def is_idx(folder: Path) -> bool:
    """Whether a folder holds files of MNIST's format."""
    return any(folder.glob("*[-.]idx[13]-ubyte*"))


def read_idx(
    folder: Path, split: str, *, classes: int, skip_bad: bool = False
) -> tuple[Labelled, int]:
    """The pictures and labels of "train" or "t10k", and how many were left out.

    Raises:
      FileNotFoundError: one of the two files is missing.
      ValueError: a file is damaged, the two do not fit each other, or a label is out of range.

    Reference: the format: LeCun, Cortes and Burges, "The MNIST database", file formats.
    """
    paths = [_find(folder, f"{split}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
    images, labels = (
        read_items(path, dimensions, skip_bad=skip_bad)
        for path, dimensions in zip(paths, (3, 1), strict=True)
    )
    if images.declared != labels.declared:
        raise ValueError(
            f"`data` must label every picture; {paths[0]} holds {images.declared} pictures and "
            f"{paths[1]} {labels.declared} labels. Take both from the same data set."
        )
    count = min(len(images.array), len(labels.array))
    wrong = labels.array[:count] >= classes
    if wrong.any() and not skip_bad:
        first = int(np.argmax(wrong))
        raise ValueError(
            f"labels of `data` must lie between 0 and {classes - 1}; that of picture {first} in "
            f"{paths[1]} is {labels.array[first]}, {wrong.sum()} such in all. Name the number of "
            "classes by --classes, or leave such pictures out by --skip_bad."
        )
    kept = Labelled(images.array[:count][~wrong][..., None], labels.array[:count][~wrong])
    return kept._replace(labels=kept.labels.astype(np.int32)), images.declared - len(kept.labels)


def read_items(path: Path, dimensions: int, *, skip_bad: bool = False) -> Items:
    """The items of one file in MNIST's format, plain or as .gz; the whole ones, if it was cut off.

    Raises:
      ValueError: it is damaged, is of another kind, or is cut off without `skip_bad`.
    """
    data = _unpacked(path)
    header = 4 + 4 * dimensions
    if len(data) < header or data[:4] != bytes((0, 0, 8, dimensions)):
        raise ValueError(
            f"`data` must be in MNIST's format; {path} begins with {data[:4].hex(' ') or 'nothing'}"
            f", not with 00 00 08 {dimensions:02x}. Fetch it again."
        )
    declared, *shape = (int(n) for n in np.frombuffer(data[4:header], ">u4"))
    size, held = math.prod(shape), len(data) - header
    if held > declared * size or not size:
        raise ValueError(
            f"`data` must hold as many bytes as it says; {path} says {declared} items of {size} "
            f"and holds {held} bytes of them. Fetch it again."
        )
    whole = held // size
    if whole < declared and not skip_bad:
        raise ValueError(
            f"`data` must be whole; {path} ends after {whole} of {declared} items. Fetch it "
            "again, or use what there is by --skip_bad."
        )
    array = np.frombuffer(data, np.uint8, whole * size, header).reshape(whole, *shape)
    return Items(array, declared)


def _find(folder: Path, name: str) -> Path:
    # Some copies have a dot before "idx".
    for candidate in (name, name.replace("-idx", ".idx")):
        for path in (folder / candidate, folder / f"{candidate}.gz"):
            if path.is_file():
                return path
    raise FileNotFoundError(
        f"`data` must hold the four files of MNIST's format; {folder} has no {name} or {name}.gz."
    )


def _unpacked(path: Path) -> bytes:
    """The bytes of a file; of a packed one that was cut off, those before the cut."""
    data = path.read_bytes()
    if path.suffix != ".gz":
        return data
    unpacked = b""
    try:
        while data:
            member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
            unpacked += member.decompress(data)
            data = member.unused_data
    except zlib.error as error:
        # Where the damage begins cannot be told, so that nothing of it may be used.
        raise ValueError(
            f"`data` must hold files that can be unpacked; {path} is damaged ({error}). Fetch it "
            "again."
        ) from error
    return unpacked


def labels_of(folder: Path) -> tuple[str, ...]:
    """The names of the folders that hold pictures, in order.

    Raises:
      ValueError: there are fewer than two.
    """
    names = sorted(f.name for f in folder.iterdir() if f.is_dir() and pictures_in(f))
    if len(names) < 2:
        raise ValueError(
            f"`data` must hold pictures as <label>/<file>, of two labels or more; {folder} holds "
            f"{', '.join(names) or 'none'}. Files end in {', '.join(SUFFIXES)}."
        )
    return tuple(names)


def pictures_in(folder: Path) -> list[Path]:
    """The PNG and JPEG files of a folder, in order."""
    files = (f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and f.name[0] != ".")
    return sorted(f for f in files if f.is_file())


def read_pictures(
    paths: Sequence[Path], *, size: int | None = None, skip_bad: bool = False
) -> tuple[UInt8[np.ndarray, "n y x c"], Int[np.ndarray, " n"]]:
    """The pictures of files, and which files they are of.

    They are grey where all of them are, otherwise of three colours; a transparent ground is black.

    Args:
      paths: of PNG or JPEG files.
      size: all are resized to so many pixels each way. None to leave them as they are: then they
        must be of one size, and with `skip_bad` those of any but the commonest are left out.
      skip_bad: leaves out what cannot be read.

    Raises:
      ValueError: a file is damaged, or of another size than the first.
    """
    opened: list[tuple[int, Image.Image]] = []
    for number, path in enumerate(paths):
        try:
            opened.append((number, _open(path, size)))
        except ValueError:
            if not skip_bad:
                raise
    if size is None and opened:
        opened = _of_one_size(opened, paths, skip_bad)
    if not opened:
        raise ValueError(f"`data` must hold a picture that can be read; got {len(paths)} damaged.")
    mode = "L" if all(picture.mode == "L" for _, picture in opened) else "RGB"
    images = np.stack([np.asarray(picture.convert(mode)) for _, picture in opened])
    numbers = np.array([number for number, _ in opened])
    return images.reshape(*images.shape[:3], -1), numbers


def read_picture(
    path: Path, *, height: int, width: int, channels: int, argument: str = "data"
) -> tuple[UInt8[np.ndarray, "y x c"], tuple[int, int]]:
    """The picture of a file in another size and with other channels, and its own height and width.

    Args:
      path: of a PNG or JPEG file.
      height, width: it is resized to so many pixels, as `read_pictures` does.
      channels: 1 for grey, 3 for colours.
      argument: the caller's name for the file, as errors should say it.

    Raises:
      ValueError: the file is damaged, or has more than eight bits a channel.
    """
    picture = _open(path, None, argument)
    fitted = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(fitted.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(height, width, channels), picture.size[::-1]


def _open(path: Path, size: int | None, argument: str = "data") -> Image.Image:
    """One picture, grey or of three colours."""
    try:
        with Image.open(path) as file:
            mode = file.mode
            picture = ImageOps.exif_transpose(file)
            if mode in (*_GREY, *_COLOURED):
                picture = picture.convert("L" if mode in _GREY else "RGB")
    # Pillow has no error of its own for what is damaged.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).replace(str(path), "it").split())
        raise ValueError(
            f"`{argument}` must hold pictures that can be read; {path} is damaged or no picture "
            f"({reason}). Fetch it again, or leave such files out by --skip_bad."
        ) from error
    if picture.mode not in ("L", "RGB"):
        raise ValueError(
            f"pictures of `{argument}` must have eight bits a channel; {path} is of Pillow's mode "
            f"{mode}. Convert it first, or leave such files out by --skip_bad."
        )
    return picture if size is None else picture.resize((size, size), Image.Resampling.BILINEAR)


def _of_one_size(
    opened: list[tuple[int, Image.Image]], paths: Sequence[Path], skip_bad: bool
) -> list[tuple[int, Image.Image]]:
    sizes = Counter(picture.size for _, picture in opened)
    first = opened[0][1].size
    if skip_bad:
        commonest, _ = sizes.most_common(1)[0]
        return [(number, picture) for number, picture in opened if picture.size == commonest]
    for number, picture in opened:
        if picture.size != first:
            raise ValueError(
                "pictures of `data` must be of one size; "
                f"{paths[opened[0][0]]} has {first[0]} x {first[1]} pixels and {paths[number]} "
                f"{picture.size[0]} x {picture.size[1]}. Resize all by --image_size, or leave "
                "out all but the commonest size by --skip_bad."
            )
    return opened
