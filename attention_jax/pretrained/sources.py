"""Where a pretrained model lies: a folder of `transformers` or Marian, or one GGUF file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from attention_jax.core import checks
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.pretrained import gguf_files, marian_folder
from attention_jax.pretrained.tensors import Tensors, opened
from attention_jax.pretrained.tokenizers import tokenizer_of
from attention_jax.pretrained.types import Settings

CONFIG = "config.json"
# What is asked for besides: how pixels are scaled, how texts are written, and how a vector is made
# of states.
BESIDE = ("preprocessor_config.json", "generation_config.json", "1_Pooling/config.json")


class Source(NamedTuple):
    """A model as it lies there.

    Attributes:
      settings: what its config.json says.
      tensors: by the names of the file.
      tokenizer: None where there is none.
    """

    settings: Settings
    tensors: Tensors
    tokenizer: Tokenizer | None


def source_of(
    path: Path, family: str | None = None, settings: Mapping[str, object] | None = None
) -> Source:
    """The model of a folder or file.

    Args:
      family: of weights without config.json.
      settings: of the family, in place of what that would say.

    Raises:
      FileNotFoundError: there is none, or a part is missing.
      ValueError: a file is damaged, or of a form that is not read; or there are settings, but no
        family.
    """
    if family is not None:
        own = Settings(dict(settings or {}), "`settings`")
        return Source(own, opened(path), tokenizer_of(path))
    if settings is not None:
        raise ValueError(
            "`settings` must be left out where a config.json says them; got "
            f"{checks.said(dict(settings))}. Name the `family` to say them yourself."
        )
    if path.is_dir() and not (path / CONFIG).is_file():
        found = sorted(path.glob("*.gguf"))
        if len(found) == 1:
            path = found[0]
        marian = marian_folder.opened(path)
        if marian is not None:
            return Source(*marian, tokenizer_of(path))
    if path.suffix == ".gguf" and path.is_file():
        return Source(*gguf_files.read(path))
    if not path.is_dir():
        raise FileNotFoundError(
            f"`path` must name a folder with {CONFIG} and the weights, or a .gguf file; {path} is "
            "neither."
        )
    return Source(settings_of(path), opened(path), tokenizer_of(path))


def settings_of(folder: Path) -> Settings:
    """The content of the config.json of a folder.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is no JSON object.
    """
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(
            f"`path` must hold {CONFIG}; {folder} has none. Fetch it from where the weights came."
        )
    beside = {name: _read(folder / name) for name in BESIDE if (folder / name).is_file()}
    return Settings(_read(folder / CONFIG), str(folder / CONFIG), beside)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} must be a JSON object; it is not ({checks.reason(error)}). Fetch it anew."
        ) from error
