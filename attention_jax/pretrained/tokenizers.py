"""The tokenizer beside a model's weights."""

from pathlib import Path

from attention_jax.core import checks
from attention_jax.data.tokenizer import Tokenizer

FILES = ("tokenizer.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
PAIR = ("source.spm", "target.spm", "vocab.json")  # of opus-mt


def tokenizer_of(folder: Path) -> Tokenizer | None:
    """The tokenizer of a folder; None where it has none.

    Raises:
      ValueError: its file holds no tokenizer, or there are several of SentencePiece.
    """
    if all((folder / name).is_file() for name in PAIR):
        return Tokenizer.from_pair(*(folder / name for name in PAIR))
    for name in FILES:
        if (folder / name).is_file():
            return Tokenizer.from_file(folder / name)
    others = sorted(folder.glob("*.spm"))
    if len(others) > 1:
        raise ValueError(
            f"`path` must hold one vocabulary, of source and target; {folder} has "
            f"{checks.said([x.name for x in others])}. Models with a vocabulary each cannot be "
            "read yet."
        )
    return Tokenizer.from_file(others[0]) if others else None
