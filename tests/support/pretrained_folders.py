"""Folders of small random models, as other libraries keep theirs."""

from pathlib import Path

from tests.support import checkpoints


def gpt2(folder: Path) -> Path:
    """A GPT-2 of the letters of "abc abd" with its tokenizer, as `save` writes it."""
    checkpoints.small("gpt2", checkpoints.gpt2, ["abc abd"], folder)
    return folder / "model"
