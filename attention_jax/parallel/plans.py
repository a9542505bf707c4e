"""Plan of a training on a mesh: what is divided how, what is whole and why, and memory a device."""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax.sharding import PartitionSpec

from attention_jax.parallel import rules
from attention_jax.parallel.layout import Layout
from attention_jax.parallel.mesh import MeshShape
from attention_jax.parallel.placement import Tree

_NUMBER = re.compile(r"/\d+(?=/)")  # of a layer, which are all alike
_SHOWN = 6  # paths of a line


class Part(NamedTuple):
    """Parameters of one place in all layers.

    Attributes:
      path: with `*` for the number of a layer.
      shape: of each.
      spec: axes of the mesh along its dimensions.
      count: of parameters.
      numbers: in all of them.
      why_not: why a dimension that a rule divides is whole.
    """

    path: str
    shape: tuple[int, ...]
    spec: PartitionSpec
    count: int
    numbers: int
    why_not: str


class Plan(NamedTuple):
    """Plan of a training on a mesh; its text is a short report.

    Attributes:
      mesh: sizes of the axes.
      parts: parameters, by place.
      parameter_bytes: of a device.
      optimizer_bytes: of a device.
      temporary_bytes: of a device, beside these in a step: activations, gradients and gathered
        parameters; None where no step was compiled.
      multiple: that the lengths of sequences are filled up to.
      sequences: how devices share their positions, in words; "" where they do not.
    """

    mesh: MeshShape
    parts: tuple[Part, ...]
    parameter_bytes: int
    optimizer_bytes: int
    temporary_bytes: int | None = None
    multiple: int = 1
    sequences: str = ""

    def __str__(self) -> str:
        return "\n".join([f"mesh: {self.mesh} on {math.prod(self.mesh)} devices", *self._lines()])

    def _lines(self) -> list[str]:
        by_spec: dict[tuple, list[Part]] = {}
        for part in self.parts:
            by_spec.setdefault(tuple(part.spec), []).append(part)
        whole = by_spec.pop((), [])
        lines = [f"  divided {_said(spec)}: {_listed(own)}" for spec, own in by_spec.items()]
        if whole:
            total = max(sum(part.numbers for part in self.parts), 1)
            share = sum(part.numbers for part in whole) / total
            lines.append(f"  whole on every device, {share:.1%} of all: {_listed(whole)}")
        for why in sorted({part.why_not for part in self.parts if part.why_not}):
            own = [part for part in self.parts if part.why_not == why]
            lines.append(f"  less divided than could be, as {why}: {_listed(own)}")
        if self.sequences:
            lines.append(f"  {self.sequences}")
        beside = self.temporary_bytes
        lines.append(
            f"  a device holds {self.parameter_bytes / 1e6:,.3f} MB of parameters, "
            f"{self.optimizer_bytes / 1e6:,.3f} MB of the optimizer"
            + ("" if beside is None else f", and in a step {beside / 1e6:,.1f} MB beside them")
        )
        return lines


def plan(layout: Layout, state: Tree, compiled: jax.stages.Compiled | None = None) -> Plan:
    """The plan of a training.

    Args:
      layout: of the model.
      state: the training state, or its shapes, with fields `params` and `opt`.
      compiled: a step on the mesh, of which memory is read.
    """
    sizes = None if compiled is None else compiled.memory_analysis()
    return Plan(
        mesh=layout.shape,
        parts=_parts(layout.params, layout.placed),
        parameter_bytes=device_bytes(state.params, layout),
        optimizer_bytes=device_bytes(state.opt, layout),
        temporary_bytes=None if sizes is None else sizes.temp_size_in_bytes,
        multiple=layout.multiple,
        sequences=_sequences(layout),
    )


def _sequences(layout: Layout) -> str:
    if layout.context is None:
        return ""
    rest = "its own positions" if layout.by_positions else "attention for its own positions"
    more = "" if layout.by_positions else ", and XLA divides the rest"
    return f"of sequences a device computes {rest}, with keys by {layout.context.strategy}{more}"


def device_bytes(tree: Tree, layout: Layout) -> int:
    """Bytes of a tree's leaves that one device holds."""
    leaves, specs = jax.tree.leaves(tree), jax.tree.leaves(layout.specs(tree))
    held = (
        x.size * x.dtype.itemsize // _shares(spec, layout.shape)
        for x, spec in zip(leaves, specs, strict=True)
    )
    return sum(held)


def _shares(spec: PartitionSpec, mesh: MeshShape) -> int:
    return math.prod(getattr(mesh, axis) for axis in spec if axis is not None)


def _parts(params: Any, placed: Mapping[str, rules.Placed]) -> tuple[Part, ...]:
    found: dict[tuple, Part] = {}
    for path, x in jax.tree_util.tree_leaves_with_path(params):
        name = rules.path_name(path)
        spec, why_not = placed[name]
        key = (_NUMBER.sub("/*", name), x.shape, tuple(spec))
        old = found.get(key, Part(key[0], x.shape, spec, 0, 0, why_not))
        found[key] = old._replace(count=old.count + 1, numbers=old.numbers + math.prod(x.shape))
    return tuple(found.values())


def _said(spec: tuple) -> str:
    return "x".join("." if axis is None else axis for axis in spec)


def _listed(parts: list[Part]) -> str:
    """Ends of paths, each once, the largest first."""
    ordered = sorted(parts, key=lambda part: -part.numbers)
    names = list(dict.fromkeys("/".join(part.path.split("/")[-2:]) for part in ordered))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
