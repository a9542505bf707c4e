"""Files that a trained run is given: lines of text, images and recordings, as it reads them."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from attention_jax.data import folders, text_files
from attention_jax.data.audio import batches, corpus, wav
from attention_jax.data.audio.corpus import Utterance
from attention_jax.data.audio.spectrogram import Spectrogram
from attention_jax.data.folders import is_hidden
from attention_jax.data.images.files import SUFFIXES, Fit, read_image
from attention_jax.nn.patches import ImageConfig
from experiments.common.experiment import PredictFlags

Picture = UInt8[np.ndarray, "y x c"]


def read_lines(path: str) -> list[str]:
    """The lines of the text file that --file names.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is not UTF-8.
    """
    return text_files.read_lines(path, argument="--file")


def images(
    file: str | None,
    image: ImageConfig,
    *,
    skip_bad: bool = False,
    ground: str = "white",
    fit: Fit | None = None,
) -> list[tuple[str, Picture]]:
    """Images in the size and channels of a run, each with its file's name.

    Says on standard error which were resized.

    Args:
      file: what --file says: an image, or a folder of such.
      image: what the run learned from.
      skip_bad: leaves out of a folder what cannot be read, and says so on standard error.
      ground: what shows where images are transparent.
      fit: how they are resized. Default: to the size, whatever their shape.

    Raises:
      ValueError: there are none, or one is damaged.
    """
    wanted, resized = (image.height, image.width), []

    def read(path: Path) -> tuple[str, Picture]:
        picture, own = read_image(
            path,
            height=image.height,
            width=image.width,
            channels=image.channels,
            ground=ground,
            fit=fit,
            argument="--file",
        )
        if own != wanted:
            resized.append(f"{path.name}, of {own[1]} x {own[0]}")
        return path.name, picture

    found = _readable(files(file, "an image", SUFFIXES), read, skip_bad)
    if resized:
        more = f", and {len(resized) - 1} more" if len(resized) > 1 else ""
        print(
            f"resized to {image.width} x {image.height} pixels: {resized[0]}{more}", file=sys.stderr
        )
    return found


def recordings(
    file: str | None, settings: Spectrogram, *, resample: bool = False, skip_bad: bool = False
) -> list[Utterance]:
    """Recordings at the rate of a run, called by their files' names.

    Args:
      file: what --file says: a WAV file, or a folder of such.
      settings: of the run's spectrogram.
      resample: resamples recordings of another rate, which are bad otherwise.
      skip_bad: leaves out of a folder what is bad, and says so on standard error.

    Raises:
      ValueError: there are none, or one is no such WAV file, of another rate, or too short.
    """

    def read(path: Path) -> Utterance:
        samples = wav.read(path.read_bytes(), name=str(path), rate=settings.rate, resample=resample)
        found = corpus.of_array(path.name, "", samples)
        batches.frames_of(found, settings)
        return found

    return _readable(files(file, "a recording", wav.SUFFIXES), read, skip_bad)


def lines(name: str, answers: Sequence[tuple[float, str]], given: PredictFlags) -> Iterator[str]:
    """Answers with their scores, one a line; after the file's name where --file is a folder."""
    named = [name] if given.file is not None and os.path.isdir(given.file) else []
    for score, text in answers:
        yield "\t".join([*named, *([f"{score:.4f}"] if given.scores else []), text])


def files(file: str | None, noun: str, suffixes: Sequence[str]) -> list[Path]:
    """The file that --file names, or those of the folder that it names, in order.

    Raises:
      ValueError: there are none.
    """
    if file is None:
        raise ValueError(f"`--file` must name {noun}, or a folder of such; got none.")
    path = Path(file)
    if os.path.isfile(path):
        return [path]
    inside = sorted(path.iterdir()) if os.path.isdir(path) else []
    own = [f for f in inside if f.suffix.lower() in suffixes and os.path.isfile(f)]
    found = [f for f in own if not is_hidden(f, path)]
    if not found:
        none = (
            f"holds no file in {', '.join(suffixes)}" if os.path.isdir(path) else "does not exist"
        )
        raise ValueError(f"`--file` must name {noun}, or a folder of such; {path} {none}.")
    others = folders.unused(path, found, beside=suffixes)
    if others:
        print(f"{path}: not used: {folders.in_words(others)}", file=sys.stderr)
    return found


def _readable(paths: Sequence[Path], read: Callable[[Path], Any], skip_bad: bool) -> list[Any]:
    """Each file as `read` gives it; those left out are named on standard error."""
    found = []
    for path in paths:
        try:
            found.append(read(path))
        except ValueError as error:
            # Where nothing is left, the last of them says why.
            nothing_left = path == paths[-1] and not found
            if nothing_left or not skip_bad:
                raise
            print(f"left out: {error}", file=sys.stderr)
    return found
