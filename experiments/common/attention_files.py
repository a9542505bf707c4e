"""Files of attentions of one's own: named by flags, kept in a run's folder, read from there."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attention_jax import variants
from attention_jax.core.files import content_hash, write_whole
from experiments.common import flags

_FLAGS = ("attention", "cross_attention")
_FILE = re.compile(r"^([^()\[\]]*?\.py)(?=$|[:(])")


def of_text(attention: str | None) -> list[Path]:
    """The files that an attention's text names; none for those of the library."""
    items = dict.fromkeys(variants.layers(attention or ""))
    return [Path(found[1]) for found in map(_FILE.match, items) if found]


def named(config: Any) -> list[Path]:
    """The files of attentions that a configuration names; the folder keeps each by its name."""
    return [x for name in _FLAGS for x in of_text(getattr(config.model, name))]


def inside(config: Any, folder: Path) -> Any:
    """The configuration with an attention's file as the folder keeps it."""
    for name in _FLAGS:
        own = getattr(config.model, name)
        moved = [_inside(x, folder) for x in variants.layers(own or "")]
        if moved != list(variants.layers(own or "")):
            text = moved[0] if len(moved) == 1 else f"[{', '.join(moved)}]"
            config = flags.replace(config, **{name: text})
    return config


def _inside(text: str, folder: Path) -> str:
    """The text of one attention, whose file the folder may keep."""
    found = _FILE.match(text)
    if not found or not os.path.exists(folder / Path(found[1]).name):
        return text
    return f"{folder / Path(found[1]).name}{text.removeprefix(found[1])}"


def check(config: Any) -> Any:
    """The configuration, once its attentions are known to exist.

    A run that goes on reads a file that is no longer where it was from its own folder.

    Raises:
      ValueError: no such attention.
    """
    given = of_text(config.model.attention)
    if config.run.resume and config.run.run and not all(map(os.path.exists, given)):
        config = inside(config, Path(config.run.run))
    for text in (config.model.attention_text, config.model.cross_attention):
        if text and text != "none":
            found = variants.pattern(text)
            if len(set(found)) > 1 and config.model.model == "rnn":
                raise ValueError(
                    "`--attention` of an RNN must be one attention: a pattern belongs to layers of "
                    f"a Transformer; got {text}. Name one, or use --model=transformer."
                )
    return config


def check_kept(config: Any, folder: Path, hashes: Mapping[str, str]) -> None:
    """Refuses a file of an attention that is not as it was when the run began."""
    for name, digest in hashes.items():
        if not os.path.exists(folder / name) or _hash(folder / name) != digest:
            raise ValueError(
                f"`--attention` must be as it was when the run began; {folder / name} was changed "
                "since. Put the old one back, or start another run by --run."
            )
    for given in named(config):
        kept = folder / given.name
        if not os.path.exists(kept) or not os.path.exists(given):
            continue
        if kept.read_bytes() != given.read_bytes():
            raise ValueError(
                f"`--attention` must be as it was when the run began; {given} differs from "
                f"{kept}. Give that one, or start another run by --run."
            )


def keep(config: Any, folder: Path) -> dict[str, str]:
    """Copies files of attentions into the folder, where they are read from then on.

    Returns:
      the content hash of each by its name.
    """
    found = {}
    for given in named(config):
        kept = folder / given.name
        if kept.resolve() != given.resolve():
            write_whole(kept, given.read_bytes())
        found[given.name] = _hash(kept)
    return found


def _hash(path: Path) -> str:
    return content_hash(path.read_bytes())
