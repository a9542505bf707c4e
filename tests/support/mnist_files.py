"""Files in the format of MNIST, for tests: three pictures of 2 rows and 3 columns."""

import gzip
import struct

PIXELS = bytes(range(18))
IMAGES = struct.pack(">4BIII", 0, 0, 8, 3, 3, 2, 3) + PIXELS
LABELS = struct.pack(">4BI", 0, 0, 8, 1, 3) + bytes([1, 0, 1])


def write(folder, images=IMAGES, labels=LABELS, packed=False, split="train"):
    folder.mkdir(exist_ok=True)
    for kind, data in (("images-idx3", images), ("labels-idx1", labels)):
        path = folder / f"{split}-{kind}-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(data) if packed else data)
    return folder
