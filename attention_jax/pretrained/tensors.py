"""Tensors by name, read one at a time: safetensors, whole or in parts, numpy's .npz, and Keras.

A pickle is code that runs when it is read, and is refused.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from attention_jax.core import checks
from attention_jax.core.extras import needed
from attention_jax.pretrained.types import Tensor

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
KERAS, WEIGHTS = (".keras", ".h5"), "model.weights.h5"  # the second within the first
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class Tensors(NamedTuple):
    """The content of a checkpoint.

    Attributes:
      names: of the tensors.
      read: the tensor of a name, from the disk.
    """

    names: tuple[str, ...]
    read: Callable[[str], Tensor]


def from_mapping(arrays: Mapping[str, Tensor]) -> Tensors:
    """Tensors that are in memory."""
    return Tensors(tuple(arrays), lambda name: arrays[name])


def without(tensors: Tensors, prefix: str) -> Tensors:
    """The same under names without a prefix, where they have it."""
    full = {name.removeprefix(prefix): name for name in tensors.names}
    return Tensors(tuple(full), lambda name: tensors.read(full[name]))


def renamed(tensors: Tensors, older: Iterable[tuple[str, str]]) -> Tensors:
    """The same by the names of today, where files have older ones."""

    def today(name: str) -> str:
        for pattern, own in older:
            name = re.sub(pattern, own, name)
        return name

    full = {today(name): name for name in tensors.names}
    return Tensors(tuple(full), lambda name: tensors.read(full[name]))


def opened(path: Path) -> Tensors:
    """The tensors of a file, or of a folder that holds one.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is a pickle, or damaged, or of another form.
    """
    if path.is_dir():
        return _of_folder(path)
    if path.suffix in PICKLES:
        raise _pickled(path)
    if not path.is_file():
        raise FileNotFoundError(f"`path` must name a checkpoint; {path} does not exist.")
    if path.suffix == ".npz":
        return _of_npz(path)
    if path.suffix in KERAS:
        return _of_keras(path)
    if path.suffix == ".safetensors":
        return _of_safetensors([path])
    raise ValueError(
        f"`path` must name a .safetensors, .npz, .keras or .h5 file, or a folder with the first; "
        f"got {path}. Convert the weights with the library that wrote them."
    )


def _of_folder(folder: Path) -> Tensors:
    if (folder / INDEX).is_file():
        return _of_parts(folder / INDEX)
    for name in (WHOLE, *sorted(x.name for x in folder.glob("*.safetensors"))):
        if (folder / name).is_file():
            return _of_safetensors([folder / name])
    pickles = sorted(x for x in folder.iterdir() if x.suffix in PICKLES)
    if pickles:
        raise _pickled(pickles[0])
    raise FileNotFoundError(
        f"`path` must hold {WHOLE}; {folder} has none. Fetch it from where the weights came."
    )


def _of_parts(index: Path) -> Tensors:
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = [index.parent / name for name in dict.fromkeys(listed.values())]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{index} must say which part holds each tensor; it cannot be read "
            f"({checks.reason(error)}). Fetch it anew."
        ) from error
    missing = [x.name for x in files if not x.is_file()]
    if missing:
        raise FileNotFoundError(
            f"All parts of {index.name} must be there; {checks.said(missing)} of {len(files)} are "
            f"missing in {index.parent}. Fetch them."
        )
    return _of_safetensors(files)


def _of_safetensors(files: Iterable[Path]) -> Tensors:
    with needed("pretrained"):
        from safetensors import safe_open
    where: dict[str, Any] = {}
    for file in files:
        try:
            content = safe_open(file, framework="flax")
            where |= dict.fromkeys(content.keys(), content)
        except Exception as error:  # the library raises its own
            raise ValueError(
                f"{file} must be a whole safetensors file; it cannot be read "
                f"({checks.reason(error)}). Fetch it anew."
            ) from error
    return Tensors(tuple(where), lambda name: np.asarray(where[name].get_tensor(name)))


def _of_npz(path: Path) -> Tensors:
    try:
        content = np.load(path, allow_pickle=False)
        names = tuple(content.files)
    except Exception as error:  # zipfile, zlib and numpy raise each their own
        raise ValueError(
            f"{path} must be a .npz file of arrays; it cannot be read ({checks.reason(error)}). "
            "Fetch it anew."
        ) from error
    return Tensors(names, lambda name: content[name])


def _of_keras(path: Path) -> Tensors:
    """The arrays of an HDF5 file, by their paths; a .keras file is an archive that holds one."""
    with needed("keras"):
        import h5py
    try:
        source: Any = path
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                source = io.BytesIO(archive.read(WEIGHTS))
        file, names = h5py.File(source, "r"), []
        file.visititems(lambda n, x: names.append(n) if isinstance(x, h5py.Dataset) else None)
    except Exception as error:  # zipfile and h5py raise each their own
        raise ValueError(
            f"{path} must be a file of Keras with weights; it cannot be read "
            f"({checks.reason(error)}). Fetch it anew."
        ) from error
    return Tensors(tuple(names), lambda name: np.asarray(file[name]))


def _pickled(path: Path) -> ValueError:
    return ValueError(
        f"{path} is a pickle, which may run any code when it is read, so it is not. Convert it "
        "where you trust it: `safetensors.torch.save_file(torch.load(path, weights_only=True), "
        '"model.safetensors")`.'
    )
