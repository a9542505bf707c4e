"""Vocabularies of runs that read text: learned from the data, or given as a file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from attention_jax.data.tokenizer import Tokenizer

VOCABULARY = "vocabulary.json"


class FileFlags(Protocol):
    """The flags that name a tokenizer made elsewhere."""

    @property
    def tokenizer_file(self) -> str | None: ...

    @property
    def special_tokens(self) -> Sequence[str]: ...


def keep(vocabulary: Tokenizer, folder: Path) -> None:
    """Writes a run's vocabulary, where it is not there yet."""
    if not os.path.exists(folder / VOCABULARY):
        vocabulary.save(folder / VOCABULARY)


def recall(config: Any, folder: Path) -> Tokenizer:
    """The vocabulary of a run."""
    del config
    return Tokenizer.load(folder / VOCABULARY)


def kept(folder: Path | None) -> Tokenizer | None:
    """The vocabulary that a folder has; None where it has none."""
    if folder is None or not os.path.exists(folder / VOCABULARY):
        return None
    return Tokenizer.load(folder / VOCABULARY)


def of_file(
    flags: FileFlags, folder: Path | None, *, lowercase: bool = False, unicode: str = "none"
) -> Tokenizer | None:
    """The tokenizer of --tokenizer_file; None without that flag.

    A run that goes on has a copy of its own, which serves where the file is gone.

    Args:
      flags: those that name the file.
      folder: of a run that goes on.
      lowercase: text is lower-cased first.
      unicode: normal form in which text is put first.

    Raises:
      ValueError: the file is not what the run began with, or lacks a special token.
      FileNotFoundError: there is no such file, and no copy.
      ModuleNotFoundError: a SentencePiece model, without the package sentencepiece.
    """
    own, path = kept(folder), flags.tokenizer_file
    if path is None:
        _check_none(flags, own, folder)
        return None
    if own is not None and own.is_given and not os.path.exists(path):
        return own
    found = Tokenizer.from_file(
        path,
        special_tokens=flags.special_tokens,
        lowercase=lowercase,
        unicode=unicode,
        argument="tokenizer_file",
    )
    if own is not None and own.to_text() != found.to_text():
        raise ValueError(
            f"`--tokenizer_file` must be as it was when the run began; {path} differs from "
            f"{folder}/{VOCABULARY}. Give that one, or start another run by --run."
        )
    return found


def same(vocabulary: Tokenizer, folder: Path | None) -> Tokenizer:
    """The vocabulary of data, which must be that of a folder that has one.

    Raises:
      ValueError: the run began with another.
    """
    own = kept(folder)
    if own is None:
        return vocabulary
    ours, theirs = (one.tokens(range(one.size)) for one in (vocabulary, own))
    if ours != theirs:
        raise ValueError(
            f"`--resume` goes on with the data that the run began with; {folder} has learned "
            f"{len(theirs)} tokens, and these data have {len(ours)}, which differ. Name the data "
            "of that time, or start another run by --run."
        )
    return vocabulary


def _check_none(flags: FileFlags, own: Tokenizer | None, folder: Path | None) -> None:
    if own is not None and own.is_given:
        raise ValueError(
            f"`--tokenizer_file` must be as it was when the run began; {folder} began with one, "
            f"and this call has none. Add --tokenizer_file={folder}/{VOCABULARY}."
        )
    if flags.special_tokens:
        raise ValueError(
            f"`--special_tokens` goes with --tokenizer_file; got "
            f"{','.join(flags.special_tokens)}. Name the file, or leave it out."
        )
