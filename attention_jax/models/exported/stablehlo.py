"""Programs as StableHLO: `jax.export` with symbolic sizes, and the weights once, beside them.

JAX reads such programs for six months at least after they were written; a run's own folder is what
lasts.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np
from flax import nnx
from jaxtyping import Array

from attention_jax.core import extras
from attention_jax.models.exported import manifest, parts, ports
from attention_jax.models.exported.manifest import Manifest
from attention_jax.models.exported.ports import ANY, Sizes

FORMAT = "stablehlo"
WEIGHTS = "weights.npz"
# Where a program was traced for a CPU it runs on all; kernels of an accelerator run there alone.
PLATFORMS = ("cpu", "cuda", "tpu")
_VERSION = "calling_convention"


def write(
    model: nnx.Module, folder: Path, sizes: Sizes = ANY, *, about: Mapping[str, object]
) -> Manifest:
    """Writes a model's programs into a folder, which is there.

    Args:
      model: of a kind of `parts.KINDS`.
      folder: may hold files already, which the manifest counts too.
      sizes: that the programs take.
      about: what else the manifest is to say, as JSON has it.

    Raises:
      ValueError: the model cannot be exported for these sizes.
      ModuleNotFoundError: the package flatbuffers is missing.
    """
    with extras.needed("export"):
        import flatbuffers  # noqa: F401
    entries, kind = {}, parts.kind_of(model).name
    here = jax.default_backend()
    platforms = PLATFORMS if here == "cpu" else (jax.export.default_export_platform(),)
    for program in parts.programs_of(model, sizes):
        exported = jax.export.export(jax.jit(program.function), platforms=platforms)
        file = f"{program.name}.stablehlo"
        (folder / file).write_bytes(exported(*program.shapes).serialize())
        entries[program.name] = manifest.entry(program, file, weights=True)
    weights: Any = {name: np.asarray(x) for name, x in ports.weights_of(model).items()}
    np.savez(folder / WEIGHTS, **weights)
    versions = manifest.versions_of(manifest.PACKAGES)
    versions[_VERSION] = jax.export.maximum_supported_calling_convention_version
    found = Manifest(FORMAT, kind, entries, sizes, {}, versions, about)
    manifest.seal(folder, found)
    return found


def calls(folder: Path, own: Manifest) -> dict[str, ports.Call]:
    """The programs of a folder as functions of their inputs.

    Raises:
      ValueError: JAX does not read them any more, or not yet.
      ModuleNotFoundError: the package flatbuffers is missing.
    """
    _check_version(folder, own)
    with extras.needed("export"):
        import flatbuffers  # noqa: F401
    with np.load(folder / WEIGHTS) as stored:
        weights = {name: jax.numpy.asarray(stored[name]) for name in stored.files}
    found = {}
    for name, one in own.programs.items():
        try:
            program = jax.export.deserialize(bytearray((folder / one.file).read_bytes()))
            program.mlir_module()  # or what is too old is found only where it is called
        except Exception as error:  # of readers of bytes, whose errors have no common class
            raise _unread(folder / one.file, own, str(error)) from None
        given = [weights[x] for x in one.weights]
        found[name] = partial(_called, jax.jit(program.call), given)
    return found


def _called(program: ports.Call, weights: list[Array], *inputs: Array) -> Sequence[Array]:
    return program(*weights, *inputs)


def _check_version(folder: Path, own: Manifest) -> None:
    low = jax.export.minimum_supported_calling_convention_version
    high = jax.export.maximum_supported_calling_convention_version
    version = own.versions.get(_VERSION)
    if not isinstance(version, int) or not low <= version <= high:
        raise _unread(folder, own, f"calling conventions {low} to {high} are read, not {version}")


def _unread(path: Path, own: Manifest, why: str) -> ValueError:
    line = re.sub(r"\s+", " ", why).strip().rstrip(".")[:200]
    return ValueError(
        f"`folder` must be of programs that JAX {jax.__version__} reads; {path} is of JAX "
        f"{own.versions.get('jax')} ({line}). Export the run anew, or use that JAX."
    )
