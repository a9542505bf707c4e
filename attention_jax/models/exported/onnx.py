"""Programs as ONNX, by the package jax2onnx; a file is kept where ONNX Runtime agrees with JAX.

Weights lie in each file. jax2onnx replaces functions of JAX for good when it converts, so all is
traced before, and a process that has written ONNX had better not trace models any more.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np
from flax import nnx
from jax.extend.core import jaxpr_as_fun
from jaxtyping import Array

from attention_jax.models.exported import manifest, parts, ports, trial
from attention_jax.models.exported.inlined import inlined
from attention_jax.models.exported.manifest import Entry, Manifest
from attention_jax.models.exported.ports import ANY, Call, Program, Sizes

FORMAT = "onnx"
OPSET = 23
PACKAGES = ("jax2onnx", "onnx", "onnxruntime")
_ERRORS_ALONE = 3  # of ONNX Runtime's severities


def write(
    model: nnx.Module, folder: Path, sizes: Sizes = ANY, *, about: Mapping[str, object]
) -> Manifest:
    """Writes a model's programs into a folder, which is there, and tries them.

    Args:
      model: of a kind of `parts.KINDS`.
      folder: may hold files already, which the manifest counts too.
      sizes: that the programs take.
      about: what else the manifest is to say, as JSON has it.

    Raises:
      ValueError: the model cannot be exported for these sizes, a program cannot be converted, or
        what was converted does not compute the same.
      ModuleNotFoundError: jax2onnx or onnxruntime is missing.
    """
    with _needed():
        import jax2onnx
        import onnxruntime  # noqa: F401
    programs, weights = parts.programs_of(model, sizes), ports.weights_of(model)
    wanted, entries = {}, {}
    for program in programs:
        given = [weights[x] for x in program.weights]
        own = jax.export.export(jax.jit(program.function))(*program.shapes)
        wanted[program.name] = partial(jax.jit(own.call), *given)
        entries[program.name] = manifest.entry(program, f"{program.name}.onnx", weights=False)
    plain = [inlined(x.jaxpr, [weights[y] for y in x.weights]) for x in programs]
    for program, own in zip(programs, plain, strict=True):
        with _quiet(), _refusing(program, model):
            made = jax2onnx.to_onnx(**_arguments(program, jaxpr_as_fun(own)))
        (folder / entries[program.name].file).write_bytes(made.SerializeToString())
    versions = manifest.versions_of((*manifest.PACKAGES, *PACKAGES)) | {"opset": OPSET}
    found = Manifest(FORMAT, parts.kind_of(model).name, entries, sizes, {}, versions, about)
    if why := trial.differences(found, wanted, calls(folder, found)):
        raise ValueError(
            f"`format` onnx must compute what {parts.described(model)} computes; "
            f"{'; '.join(why)}. {_remedy(sizes)}"
        )
    manifest.seal(folder, found)
    return found


def calls(folder: Path, own: Manifest) -> dict[str, Call]:
    """The programs of a folder as functions of their inputs, run by ONNX Runtime on a CPU.

    Raises:
      ModuleNotFoundError: onnxruntime is missing.
    """
    with _needed():
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ALONE

    def opened(one: Entry) -> Callable[..., list[np.ndarray]]:
        path = str(folder / one.file)
        return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"]).run

    return {name: _later(partial(opened, one), one) for name, one in own.programs.items()}


def _later(opened: Callable[[], Callable[..., list[np.ndarray]]], one: Entry) -> Call:
    """A program that is opened when it is first called."""
    held: list[Callable[..., list[np.ndarray]]] = []

    def call(*inputs: Array) -> Any:
        if not held:
            held.append(opened())
        named = zip((port.name for port in one.inputs), map(np.asarray, inputs), strict=True)
        return held[0]([port.name for port in one.outputs], dict(named))

    return call


def _arguments(program: Program, function: Callable[..., list[Array]]) -> dict[str, object]:
    return {
        "fn": lambda *inputs: tuple(function(*inputs)),
        "inputs": program.shapes[len(program.weights) :],
        "model_name": program.name,
        "opset": OPSET,
        "input_names": [x.name for x in program.inputs],
        "output_names": [x.name for x in program.outputs],
    }


@contextlib.contextmanager
def _refusing(program: Program, model: nnx.Module) -> Iterator[None]:
    """Turns the errors of a converter, which have no common class, into one line."""
    try:
        yield
    except Exception as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f"`format` onnx cannot have {parts.described(model)}: its program `{program.name}` "
            f"cannot be converted ({why}). Export it as stablehlo, or for fixed sizes (`batch`, "
            "`length`)."
        ) from error


def _remedy(sizes: Sizes) -> str:
    fixed = sizes.batch is not None and sizes.length is not None
    return "Export it as stablehlo" + (
        "." if fixed else ", or for fixed sizes (`batch`, `length`)."
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the notes of the converter about itself from the user."""
    loggers = [logging.getLogger(name) for name in ("jax2onnx", "onnx_ir")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


@contextlib.contextmanager
def _needed() -> Iterator[None]:
    """Names the commands that install what is missing: no extra can bring jax2onnx.

    It asks for an older orbax-checkpoint than training needs, and uses none of it here.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is not installed. Install it with: pip install "
            '"attention_jax[onnx_export]" && pip install --no-deps jax2onnx',
            name=error.name,
        ) from error
