"""Files of attentions of one's own: named by flags, kept in a run's folder, read from there."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attention_jax import variants
from attention_jax.core.files import content_hash, write_whole
from experiments.common import flags

_FILE = re.compile(r"^([^()\[\]]*?\.py)(?=$|[:(])")


def of_text(attention: str | None) -> Path | None:
    """The file that an attention's text names; None for one of the library."""
    found = _FILE.match(attention or "")
    return Path(found[1]) if found else None


def named(config: Any) -> list[Path]:
    """The files of attentions that a configuration names; the folder keeps each by its name."""
    given = map(of_text, (config.model.attention, config.model.cross_attention))
    return [path for path in given if path is not None]


def inside(config: Any, folder: Path) -> Any:
    """The configuration with an attention's file as the folder keeps it."""
    for name in ("attention", "cross_attention"):
        own = getattr(config.model, name)
        file = of_text(own)
        if own and file and os.path.exists(folder / file.name):
            moved = f"{folder / file.name}{own.removeprefix(str(_FILE.match(own)[1]))}"  # ty: ignore
            config = flags.replace(config, **{name: moved})
    return config


def check(config: Any) -> Any:
    """The configuration, once its attentions are known to exist.

    A run that goes on reads a file that is no longer where it was from its own folder.

    Raises:
      ValueError: no such attention.
    """
    given = of_text(config.model.attention)
    if config.run.resume and config.run.run and given and not os.path.exists(given):
        config = inside(config, Path(config.run.run))
    for text in (config.model.attention_text, config.model.cross_attention):
        if text and text != "none":
            variants.resolve(text)
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
