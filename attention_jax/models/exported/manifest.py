"""The manifest of an exported folder: what its programs take and give, and what they were made of.

`manifest.json` has the format and its version, the versions of the packages that wrote it, each
program with its file, weights, inputs and outputs, the sizes, a checksum of each file beside it,
and what the caller adds: tokenizer, special ids, flags. Its last entry is its own checksum.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from attention_jax.core.files import write_whole
from attention_jax.models.exported.ports import Port, Program, Sizes

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
PACKAGES = ("jax", "jaxlib", "flax")
_SEAL = "sha256"  # of the manifest itself


class Entry(NamedTuple):
    """A program of a folder.

    Attributes:
      file: that holds it.
      weights: names of the weights that it is called with, first; empty where it holds them.
      inputs: what it is called with then.
      outputs: what it gives.
      same: names of what is no output, as it is an input unchanged, with the names of these.
    """

    file: str
    weights: tuple[str, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    same: Mapping[str, str] = {}


class Manifest(NamedTuple):
    """The contents of manifest.json.

    Attributes:
      format: "stablehlo" or "onnx".
      kind: of the model, as in `parts.KINDS`.
      programs: by their names.
      sizes: that they take.
      files: the SHA-256 of each file.
      versions: of packages, and of what the format itself counts.
      about: what the caller added.
      format_version: of the folder.
    """

    format: str
    kind: str
    programs: Mapping[str, Entry]
    sizes: Sizes
    files: Mapping[str, str]
    versions: Mapping[str, int | str]
    about: Mapping[str, object] = {}
    format_version: int = FORMAT_VERSION


def entry(program: Program, file: str, *, weights: bool) -> Entry:
    """The entry of a program; `weights` tells whether it is called with them."""
    own = program.weights if weights else ()
    return Entry(file, own, program.inputs, program.outputs, program.same)


def versions_of(packages: Sequence[str]) -> dict[str, int | str]:
    """The installed versions of packages; "none" of one that is not there."""
    return {name: _version(name) for name in packages}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def seal(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest of a folder, with a checksum of each file that lies in it."""
    files = {path.name: checksum(path) for path in sorted(folder.iterdir())}
    own = manifest._replace(files=files)._asdict()
    own["programs"] = {name: _plain(one) for name, one in manifest.programs.items()}
    own["sizes"] = manifest.sizes._asdict()
    write_whole(folder / MANIFEST, json.dumps({**own, _SEAL: _digest(own)}, indent=1) + "\n")


def _plain(one: Entry) -> dict[str, object]:
    ports = {name: [x._asdict() for x in getattr(one, name)] for name in ("inputs", "outputs")}
    return one._asdict() | ports


def checksum(path: Path) -> str:
    """The SHA-256 of a file, as `sha256sum` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(folder: Path) -> Manifest:
    """The manifest of a folder whose files are as they were written.

    Raises:
      ValueError: there is none, it or a file is damaged or missing, or it is of a later version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ValueError(
            f"`folder` must be one that was exported; {folder} holds no {MANIFEST}. Write one by "
            "`python -m experiments.export`."
        )
    found = _parsed(path)
    for name, own in found.files.items():
        if not (folder / name).is_file():
            raise ValueError(
                f"`folder` must hold all that was exported; {folder} has no {name}. Copy the whole "
                "folder, or export anew."
            )
        if checksum(folder / name) != own:
            raise _damaged(folder / name)
    return found


def _parsed(path: Path) -> Manifest:
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version, sealed = raw["format_version"], raw.pop(_SEAL)
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise ValueError(
                f"`folder` must be of format version {FORMAT_VERSION} or earlier; {path} is of "
                f"{version}. Update attention_jax, or export anew."
            )
        if sealed == _digest(raw):
            programs = {name: _entry(one) for name, one in raw.pop("programs").items()}
            raw |= {"programs": programs, "sizes": Sizes(**raw["sizes"])}
            return Manifest(**raw)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError):
        raise _damaged(path) from None
    raise _damaged(path)


def _entry(raw: Mapping[str, Any]) -> Entry:
    ports = {name: tuple(map(_port, raw[name])) for name in ("inputs", "outputs")}
    return Entry(raw["file"], tuple(raw["weights"]), **ports, same=raw["same"])


def _port(raw: Mapping[str, Any]) -> Port:
    return Port(raw["name"], tuple(raw["shape"]), raw["dtype"])


def _digest(own: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"`folder` must be as it was exported; {path} was changed since (its checksum differs). "
        "Copy it again, or export anew."
    )
