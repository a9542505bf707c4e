"""Files of labeled images: MNIST's format, and folders of files that Pillow reads.

Damage is an error of one line; with `skip_bad` bad images are left out and counted, wherever it is
certain which images are whole.
"""

import math
import os
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from attention_jax.core import checks
from attention_jax.core.extras import needed
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.wording import one_line
from attention_jax.data.folders import is_hidden

with needed("images"):
    from PIL import Image, ImageOps

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
# What shows through where an image is transparent; "none" shows the colors under it, black mostly.
GROUNDS = ("white", "black", "none")
RESAMPLES = {
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
# Pillow's modes of eight bits a channel or fewer, gray and color.
_GRAY, _COLOR = (
    ("1", "L", "LA", "La"),
    ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"),
)


class Labeled(NamedTuple):
    """Images from 0 to 255, and their labels."""

    images: UInt8[np.ndarray, "n y x c"]
    labels: Int[np.ndarray, " n"]


class Fit(NamedTuple):
    """How an image becomes one of a model's size.

    Attributes:
      resample: one of `RESAMPLES`.
      size: height and width to which it is resized first, or the shorter side; its middle is cut
        out then. None for the model's own, of which nothing is cut.
    """

    resample: str = "bilinear"
    size: tuple[int, int] | int | None = None

    def __call__(self, image: Image.Image, height: int, width: int) -> Image.Image:
        """The image in a size."""
        resample = RESAMPLES[self.resample]
        if self.size is None:
            return image.resize((width, height), resample)
        across, down = image.size
        if isinstance(self.size, int):
            short = min(image.size)
            across, down = (int(self.size * n / short) for n in image.size)
        else:
            down, across = self.size
        left, top = (across - width) // 2, (down - height) // 2
        found = image.resize((across, down), resample)
        return found.crop((left, top, left + width, top + height))


class Items(NamedTuple):
    """Items of a file in MNIST's format, and their number by its header."""

    array: np.ndarray
    declared: int


def is_idx(folder: Path) -> bool:
    """True if a folder holds files in MNIST's format."""
    return any(folder.glob("*[-.]idx[13]-ubyte*"))


@typed_calls
def read_idx(
    folder: Path, split: str, *, classes: int, skip_bad: bool = False
) -> tuple[Labeled, int]:
    """Images and labels of "train" or "t10k", and the number left out.

    Raises:
      FileNotFoundError: one of the two files is missing.
      ValueError: a file is damaged, the two files do not match, or a label is out of range.

    Reference: LeCun, Cortes and Burges, "The MNIST database", file formats.
    """
    paths = [
        _find(Path(folder), f"{split}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")
    ]
    images, labels = (
        read_items(path, dimensions, skip_bad=skip_bad)
        for path, dimensions in zip(paths, (3, 1), strict=True)
    )
    if images.declared != labels.declared:
        raise ValueError(
            f"`data` must label every image; {paths[0]} holds {images.declared} images and "
            f"{paths[1]} {labels.declared} labels. Take both from the same dataset."
        )
    count = min(len(images.array), len(labels.array))
    wrong = labels.array[:count] >= classes
    if wrong.any() and not skip_bad:
        first = int(np.argmax(wrong))
        raise ValueError(
            f"labels of `data` must lie between 0 and {classes - 1}; that of image {first} in "
            f"{paths[1]} is {labels.array[first]}, {wrong.sum()} such in all. Name the number of "
            "classes by --classes, or leave such images out by --skip_bad."
        )
    kept = Labeled(images.array[:count][~wrong][..., None], labels.array[:count][~wrong])
    return kept._replace(labels=kept.labels.astype(np.int32)), images.declared - len(kept.labels)


def read_items(path: Path, dimensions: int, *, skip_bad: bool = False) -> Items:
    """Items of a file in MNIST's format, plain or .gz; the whole ones, if it was cut off.

    Raises:
      ValueError: it is damaged, of another kind, or cut off without `skip_bad`.
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
            if os.path.isfile(path):
                return path
    raise FileNotFoundError(
        f"`data` must hold the four files of MNIST's format; {folder} has no {name} or {name}.gz."
    )


def _unpacked(path: Path) -> bytes:
    """Bytes of a file; of a compressed one that was cut off, those before the cut."""
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
        # It is unknown where the damage begins, so nothing of it may be used.
        raise ValueError(
            f"`data` must hold files that can be unpacked; {path} is damaged ({error}). Fetch it "
            "again."
        ) from error
    return unpacked


def labels_of(folder: Path) -> tuple[str, ...]:
    """Names of the folders that hold images, in order.

    Raises:
      ValueError: there are fewer than two.
    """
    folders = [f for f in folder.iterdir() if os.path.isdir(f) and not is_hidden(f, folder)]
    names = sorted(f.name for f in folders if images_in(f))
    if len(names) < 2:
        raise ValueError(
            f"`data` must hold images as <label>/<file>, of two labels or more; {folder} holds "
            f"{', '.join(names) or 'none'}. Files end in {', '.join(SUFFIXES)}."
        )
    return tuple(names)


def images_in(folder: Path) -> list[Path]:
    """The images of a folder, not of those in it, in order."""
    files = (f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
    return sorted(f for f in files if os.path.isfile(f) and not is_hidden(f, folder))


@typed_calls
def read_images(
    paths: Sequence[Path],
    *,
    size: int | None = None,
    skip_bad: bool = False,
    ground: str = "white",
) -> tuple[UInt8[np.ndarray, "n y x c"], Int[np.ndarray, " n"]]:
    """Images of files, and the indices of the files that were read.

    They are gray if all of them are, otherwise RGB; of several frames the first is read.

    Args:
      paths: of files that end in one of `SUFFIXES`.
      size: size in pixels to which all are resized, both ways. None to keep their size, which must
        be the same for all; with `skip_bad`, images of any but the commonest size are left out.
      skip_bad: leaves out images that cannot be read.
      ground: one of `GROUNDS`.

    Raises:
      ValueError: a file is damaged, or of another size than the first.
    """
    if size is not None:
        checks.positive("size", size)
    checks.one_of("ground", ground, GROUNDS)
    opened: list[tuple[int, Image.Image]] = []
    for number, path in enumerate(paths):
        try:
            opened.append((number, _open(path, size, ground)))
        except ValueError:
            if not skip_bad:
                raise
    if size is None and opened:
        opened = _of_one_size(opened, paths, skip_bad)
    if not opened:
        raise ValueError(f"`data` must hold an image that can be read; got {len(paths)} damaged.")
    mode = "L" if all(image.mode == "L" for _, image in opened) else "RGB"
    images = np.stack([np.asarray(image.convert(mode)) for _, image in opened])
    numbers = np.array([number for number, _ in opened])
    return images.reshape(*images.shape[:3], -1), numbers


@typed_calls
def read_image(
    path: Path,
    *,
    height: int,
    width: int,
    channels: int,
    ground: str = "white",
    fit: Fit | None = None,
    argument: str = "data",
) -> tuple[UInt8[np.ndarray, "y x c"], tuple[int, int]]:
    """Image of a file, resized and converted, and its original height and width.

    Args:
      path: of the file.
      height, width: size in pixels to which it is resized, as in `read_images`.
      channels: 1 for gray, 3 for RGB.
      ground: one of `GROUNDS`.
      fit: how it is resized. Default: to the size, whatever its shape.
      argument: the caller's name for the file in errors.

    Raises:
      ValueError: the file is damaged, or has more than eight bits a channel.
    """
    checks.positive("height", height)
    checks.positive("width", width)
    checks.one_of("channels", channels, (1, 3))
    checks.one_of("ground", ground, GROUNDS)
    image = _open(path, None, ground, argument)
    fitted = (Fit() if fit is None else fit)(image, height, width)
    pixels = np.asarray(fitted.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(height, width, channels), image.size[::-1]


def _open(
    path: Path, size: int | None, ground: str = "white", argument: str = "data"
) -> Image.Image:
    """An image, gray or RGB."""
    try:
        with Image.open(path) as file:
            mode = file.mode
            image = ImageOps.exif_transpose(file)
            if mode in (*_GRAY, *_COLOR):
                image = image if ground == "none" else _on_ground(image, ground)
                image = image.convert("L" if mode in _GRAY else "RGB")
    # Pillow has no exception of its own for damaged files.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        reason = one_line(str(error).replace(str(path), "it"))
        raise ValueError(
            f"`{argument}` must hold images that can be read; {path} is damaged or no image "
            f"({reason}). Fetch it again, or leave such files out by --skip_bad."
        ) from error
    if image.mode not in ("L", "RGB"):
        raise ValueError(
            f"images of `{argument}` must have eight bits a channel; {path} is of Pillow's mode "
            f"{mode}. Convert it first, or leave such files out by --skip_bad."
        )
    return image if size is None else image.resize((size, size), Image.Resampling.BILINEAR)


def _on_ground(image: Image.Image, ground: str) -> Image.Image:
    """The image as it looks on a ground; as it is where nothing of it is transparent."""
    if not image.has_transparency_data:
        return image
    shown = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", shown.size, ground), shown).convert("RGB")


def _of_one_size(
    opened: list[tuple[int, Image.Image]], paths: Sequence[Path], skip_bad: bool
) -> list[tuple[int, Image.Image]]:
    sizes = Counter(image.size for _, image in opened)
    first = opened[0][1].size
    if skip_bad:
        commonest, _ = sizes.most_common(1)[0]
        return [(number, image) for number, image in opened if image.size == commonest]
    for number, image in opened:
        if image.size != first:
            raise ValueError(
                "images of `data` must have one size; "
                f"{paths[opened[0][0]]} has {first[0]} x {first[1]} pixels and {paths[number]} "
                f"{image.size[0]} x {image.size[1]}. Resize all by --image_size, or leave "
                "out all but the commonest size by --skip_bad."
            )
    return opened
