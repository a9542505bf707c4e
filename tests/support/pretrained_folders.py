"""Folders of small random models, as other libraries keep theirs."""

from pathlib import Path

from attention_jax import pretrained
from tests.support import checkpoints


def gpt2(folder: Path) -> Path:
    """A GPT-2 of the letters of "abc abd" with its tokenizer, as `save` writes it."""
    checkpoints.small("gpt2", checkpoints.gpt2, ["abc abd"], folder)
    return folder / "model"


def marian(folder: Path) -> Path:
    """A Marian model of the words a to h with its tokenizer, as `save` writes it."""

    def config(size: int):
        own = {"vocab_size": size, "d_model": 8, "max_position_embeddings": 64}
        for side in ("encoder", "decoder"):
            own |= {f"{side}_layers": 1, f"{side}_attention_heads": 2, f"{side}_ffn_dim": 12}
        return pretrained.families.get("marian").config(pretrained.types.Settings(own))

    checkpoints.small("marian", config, ["a b c d e f g h"], folder, kind="word")
    return folder / "model"
