"""Names that no file system takes are answered as those of files that are not there."""

import pytest

from attention_jax.data import text_files
from attention_jax.data.audio import folder, spoken_digits
from attention_jax.data.images import datasets
from attention_jax.data.pairs.files import read_split
from attention_jax.data.pairs.types import Reading

NAME = 300 * "a"
READERS = {
    "a text": lambda: text_files.read_text(NAME, argument="file"),
    "lines": lambda: text_files.read_lines(NAME, argument="file"),
    "images": lambda: datasets.load(NAME),
    "recordings": lambda: folder.read(NAME, rate=8000),
    "digits": lambda: spoken_digits.single(NAME),
    "pairs": lambda: read_split(f"{NAME}.tsv", Reading(), argument="train"),
    "pairs of two files": lambda: read_split(f"{NAME}.en-es", Reading(), argument="train"),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_name_that_is_too_long_is_answered_by_the_argument(reader):
    with pytest.raises((FileNotFoundError, ValueError), match="^`[a-z_]+` must .*aaaa"):
        READERS[reader]()
