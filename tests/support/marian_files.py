"""Marian's binary files, written as its own code writes them: with 8-bit matrices or without."""

import struct
from pathlib import Path

import numpy as np

FLOAT32, INT8, PLAIN_INT8 = 0x404, 0x4101, 0x101
SETTINGS = "special:model.yml"


def packed(name: str, array: np.ndarray, *, int8: bool) -> tuple[int, bytes]:
    """The type and bytes of a tensor; matrices of 8-bit numbers are transposed, not the table."""
    if not int8 or 1 in array.shape:
        return FLOAT32, array.astype("<f4").tobytes()
    scale = np.float32(127 / np.abs(array).max())
    rounded = np.round(array * scale).astype(np.int8)
    data = rounded if name == "Wemb" else np.ascontiguousarray(rounded.T)
    return INT8, data.tobytes() + scale.tobytes() + bytes(252)


def write(path: Path, arrays: dict[str, np.ndarray], yaml: str, *, int8: bool) -> None:
    """A file of these tensors, vectors as [1 n], and what it says of the model."""
    entries = []
    for name, array in arrays.items():
        matrix = array[None] if array.ndim == 1 else array
        entries.append((name, matrix.shape, *packed(name, matrix, int8=int8)))
    text = yaml.encode() + b"\0"
    entries.append((SETTINGS, (len(text),), PLAIN_INT8, text))
    head = struct.pack("<QQ", 1, len(entries))
    for name, shape, kind, data in entries:
        head += struct.pack("<QQQQ", len(name) + 1, kind, len(shape), len(data))
    head += b"".join(name.encode() + b"\0" for name, *_ in entries)
    head += b"".join(struct.pack(f"<{len(shape)}i", *shape) for _, shape, *_ in entries)
    gap = -(len(head) + 8) % 256
    head += struct.pack("<Q", gap) + bytes(gap)
    path.write_bytes(head + b"".join(data for *_, data in entries))
