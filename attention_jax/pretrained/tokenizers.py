"""The tokenizer beside a model's weights."""

import json
from pathlib import Path

from attention_jax.core import checks
from attention_jax.data.tokenizer import Tokenizer, given

FILES = ("tokenizer.json", "spiece.model", "tokenizer.model")
PAIR = ("source.spm", "target.spm", "vocab.json")  # of opus-mt
NAMED, MAP = "vocab.json", "special_tokens_map.json"
SAID = "tokenizer_config.json"
SHIFTED = "sentencepiece.bpe.model"  # whose own ids are not those of its models


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
    if _says_bytes(folder / SAID):
        return Tokenizer.of_bytes()
    if (folder / SHIFTED).is_file() and (folder / NAMED).is_file():
        return _of_many_languages(folder)
    if (folder / SHIFTED).is_file():
        raise ValueError(
            f"{folder / SHIFTED} does not say which id each of its pieces has in the model. Write "
            "a tokenizer.json beside it: `AutoTokenizer.from_pretrained(folder).save_pretrained("
            "folder)` of transformers."
        )
    others = sorted(folder.glob("*.spm"))
    if len(others) > 1:
        raise ValueError(
            f"`path` must hold one vocabulary, of source and target; {folder} has "
            f"{checks.said([x.name for x in others])}. Models with a vocabulary each cannot be "
            "read yet."
        )
    return Tokenizer.from_file(others[0]) if others else None


def _says_bytes(path: Path) -> bool:
    """Tells whether a folder has no file of tokens, for they are bytes, as those of ByT5 are."""
    try:
        return "ByT5Tokenizer" in path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _of_many_languages(folder: Path) -> Tokenizer:
    """That of M2M-100: pieces by their ids, then the languages in their order."""
    model = (folder / SHIFTED).read_bytes()
    try:
        vocabulary = dict(json.loads((folder / NAMED).read_text(encoding="utf-8")))
        said = json.loads((folder / MAP).read_text("utf-8")) if (folder / MAP).is_file() else {}
        for token in said.get("additional_special_tokens", ()):
            vocabulary.setdefault(token, len(vocabulary))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{folder / NAMED} and {MAP} must be JSON objects; they are not "
            f"({checks.reason(error)}). Fetch them anew."
        ) from error
    content = json.dumps(vocabulary).encode()
    return Tokenizer(given.read_pair(model, model, content, name=str(folder)))
