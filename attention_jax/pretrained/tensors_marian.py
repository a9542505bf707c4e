"""Tensors of Marian: its binary files, with matrices of 8-bit numbers or of float32, and its .npz.

A binary file, little endian:

    version, n                       two numbers of 64 bits
    length, type, axes, bytes        four a tensor: of its name, its numbers, its shape, its data
    names, each ended by 0           then shapes, of 32-bit numbers
    gap                              so many bytes to where the data begin
    data                             of a matrix of 8-bit numbers the scale behind them, which is
                                     at the end of a file's slot

A matrix of 8-bit numbers holds round(scale w), and is transposed, but for the table of tokens.

Reference: Junczys-Dowmunt et al. 2018, arXiv:1804.00344; marian-dev, `src/common/binary.cpp`.
"""

import math
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attention_jax.core import checks
from attention_jax.pretrained.tensors import Tensors, opened
from attention_jax.pretrained.types import Tensor

SETTINGS = "special:model.yml"
TABLES = ("Wemb", "encoder_Wemb", "decoder_Wemb")
_VERSION = 1
# Types by number: signed is 256, float 1024, and the bytes a number; intgemm's 8 bits are 16384 on.
_PLAIN = {0x101: "<i1", 0x104: "<i4", 0x204: "<u4", 0x402: "<f2", 0x404: "<f4", 0x408: "<f8"}
_INT8 = (0x4101,)


class Entry(NamedTuple):
    """Where a tensor lies in a file."""

    type: int
    shape: tuple[int, ...]
    start: int
    size: int


def is_marian(path: Path) -> bool:
    """True for a file that begins as Marian's binary files do."""
    with path.open("rb") as file:
        head = file.read(16)
    if len(head) < 16:
        return False
    version, count = struct.unpack("<QQ", head)
    return version == _VERSION and 0 < count < 2**20


def read(path: Path) -> tuple[Tensors, dict[str, str]]:
    """The tensors of a file as float32, and what it says of the model.

    Matrices are as Marian multiplies by them, [in out], and those of one row are vectors.

    Raises:
      ValueError: the file is damaged, or holds numbers of another type.
    """
    if path.suffix == ".npz":
        content = opened(path)
        yaml = content.read(SETTINGS).tobytes() if SETTINGS in content.names else b""
        names = tuple(name for name in content.names if name != SETTINGS)
        return Tensors(names, lambda name: _flat(content.read(name))), _said(yaml)
    try:
        data = np.memmap(path, np.uint8, "r")
        entries = _entries(data)
    except (ValueError, struct.error, UnicodeDecodeError) as error:
        raise _damaged(path, checks.reason(error)) from error
    for name, entry in entries.items():
        if entry.type not in (*_PLAIN, *_INT8):
            raise ValueError(
                f"{path} must hold float32 numbers, or 8-bit ones of intgemm; {name} is of type "
                f"{entry.type:#x}. Convert the model with Marian's `marian-conv`, without packing."
            )
    yaml = bytes(_raw(data, entries.pop(SETTINGS))) if SETTINGS in entries else b""
    return Tensors(tuple(entries), lambda name: _tensor(data, name, entries[name])), _said(yaml)


def _entries(data: np.ndarray) -> dict[str, Entry]:
    at = 0

    def take(form: str) -> tuple:
        nonlocal at
        size = struct.calcsize(form)
        if at + size > len(data):
            raise ValueError("it ends too early")
        at += size
        return struct.unpack(form, bytes(data[at - size : at]))

    version, count = take("<QQ")
    if version != _VERSION:
        raise ValueError(f"its version is {version}")
    if count * 32 > len(data):
        raise ValueError("it ends too early")
    heads = [take("<QQQQ") for _ in range(count)]
    names = [take(f"<{head[0]}s")[0].rstrip(b"\0").decode() for head in heads]
    shapes = [take(f"<{head[2]}i") for head in heads]
    (gap,) = take("<Q")
    at += gap
    found = {}
    for name, (_, kind, _, size), shape in zip(names, heads, shapes, strict=True):
        entry = Entry(kind, shape, at, size)
        if at + size > len(data) or size < _least(entry):
            raise ValueError("it ends too early")
        found[name], at = entry, at + size
    return found


def _least(entry: Entry) -> int:
    """Bytes that the numbers of a tensor take."""
    if entry.type in _INT8:
        return math.prod(entry.shape) + 4
    return math.prod(entry.shape) * (
        np.dtype(_PLAIN[entry.type]).itemsize if entry.type in _PLAIN else 0
    )


def _raw(data: np.ndarray, entry: Entry) -> np.ndarray:
    return np.asarray(data[entry.start : entry.start + entry.size])


def _tensor(data: np.ndarray, name: str, entry: Entry) -> Tensor:
    raw, count = _raw(data, entry), math.prod(entry.shape)
    if entry.type not in _INT8:
        numbers = np.frombuffer(raw.tobytes(), _PLAIN[entry.type], count)
        return _flat(numbers.reshape(entry.shape))
    scale = np.frombuffer(raw[count : count + 4].tobytes(), "<f4")[0]
    numbers = raw[:count].view(np.int8).astype(np.float32) / scale
    if name in TABLES:
        return numbers.reshape(entry.shape)
    return np.ascontiguousarray(numbers.reshape(entry.shape[::-1]).T)


def _flat(x: np.ndarray) -> Tensor:
    x = np.asarray(x, np.float32)
    return x[0] if x.ndim == 2 and len(x) == 1 else x


def _said(yaml: bytes) -> dict[str, str]:
    """The settings that are words or numbers; lists are left out."""
    lines = yaml.rstrip(b"\0").decode("utf-8", "replace").splitlines()
    pairs = (line.partition(":") for line in lines if line[:1] not in (" ", "-", "#"))
    return {key.strip(): value.strip().strip("'\"") for key, _, value in pairs if value.strip()}


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"{path} must be a whole binary file of Marian; it cannot be read ({reason}). Fetch it "
        "anew."
    )
