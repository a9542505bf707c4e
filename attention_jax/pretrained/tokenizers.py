"""The tokenizer beside a model's weights."""

from pathlib import Path

from attention_jax.data.tokenizer import Tokenizer

FILES = ("tokenizer.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")


def tokenizer_of(folder: Path) -> Tokenizer | None:
    """The tokenizer of a folder; None where it has none.

    Raises:
      ValueError: its file holds no tokenizer.
    """
    for name in FILES:
        if (folder / name).is_file():
            return Tokenizer.from_file(folder / name)
    return None
