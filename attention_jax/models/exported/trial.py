"""A trial of exported programs beside JAX: random inputs, through all programs in turn."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attention_jax.models.exported.manifest import Manifest
from attention_jax.models.exported.ports import Call, Port
from attention_jax.models.exported.stand_ins import MODELS, ExportedLanguage, ExportedSeq2Seq

TOLERANCE = 1e-4  # of a number, or of its part where it is above 1
STEPS = 3
# Sequences and positions of a trial, where a program takes any.
SHAPES = ((2, 5), (3, 7))


def differences(own: Manifest, wanted: Mapping[str, Call], got: Mapping[str, Call]) -> list[str]:
    """A line for each program whose outputs are not those that are wanted, or that fails.

    Later programs are given what the wanted ones gave.

    Args:
      own: the manifest of both.
      wanted: the programs as JAX runs them.
      got: the programs that are tried.
    """
    found: dict[str, str] = {}

    def both(name: str) -> Call:
        def call(*inputs: Any) -> Sequence[Any]:
            want = wanted[name](*inputs)
            if name not in found and (why := _difference(want, got[name], inputs)):
                found[name] = f"`{name}` {why}"
            return want

        return call

    calls = {name: both(name) for name in own.programs}
    for rows, length in SHAPES[: 1 if own.sizes.batch and own.sizes.length else None]:
        length = min(length, own.sizes.longest or length)
        _rehearse(own, calls, own.sizes.batch or rows, own.sizes.length or length)
    return list(found.values())


def _difference(want: Sequence[Any], tried: Call, inputs: Sequence[Any]) -> str:
    """How the outputs of a call differ; empty where they do not."""
    try:
        got = tried(*inputs)
    except Exception as error:  # of a runtime, whose errors have no common class
        return f"fails ({' '.join(str(error).split())[:200]})"
    for x, y in zip(map(np.asarray, want), map(np.asarray, got), strict=True):
        if x.shape != y.shape:
            return f"gives shape {list(y.shape)} in place of {list(x.shape)}"
        if not np.allclose(x, y, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
            apart = np.abs(x.astype(float) - y.astype(float)).max()
            return f"differs from JAX by {apart:.2g}"
    return ""


def _rehearse(own: Manifest, calls: Mapping[str, Call], rows: int, length: int) -> None:
    """Calls all programs, on random inputs."""
    draw, model = np.random.default_rng(0), MODELS[own.kind](own, calls)
    ports = {port.name: port for one in own.programs.values() for port in one.inputs}
    fill = lambda name: _filled(own, ports[name], rows, length, draw)  # noqa: E731
    if isinstance(model, ExportedSeq2Seq):
        real = np.arange(length)[None] < draw.integers(1, length + 1, rows)[:, None]
        memory = model.encode(fill("source"), jnp.asarray(real))
        if "align" in calls:
            model.aligner(memory)
        if "start" in calls:
            _write(model.step, model.start(memory, length), fill, length)
    elif isinstance(model, ExportedLanguage):
        model.logits(fill("tokens"))
        _write(model.step, model.start(rows, length), fill, length)
    else:
        (name,) = calls
        model.call(name, *map(fill, ports))


def _write(step: Callable, state: tuple, fill: Callable[[str], Array], length: int) -> None:
    for _ in range(min(STEPS, length)):
        state, _ = step(state, fill("token"))


def _filled(own: Manifest, port: Port, rows: int, length: int, draw: np.random.Generator) -> Array:
    """A random array for a port: ids of tokens, or numbers from 0 to 1."""
    letters = {"b": rows, "s": length, "t": length}
    shape = [letters[n] if isinstance(n, str) else n for n in port.shape]
    if port.dtype != "int32":
        return jnp.asarray(draw.random(shape).astype(port.dtype))
    outputs = [x for one in own.programs.values() for x in one.outputs]
    tokens: Any = next(x.shape[-1] for x in outputs if x.name == "logits")
    return jnp.asarray(draw.integers(0, tokens, shape), jnp.int32)
