"""One table of rules: how a parameter is divided among devices, by its path in the model.

Paths are those of the parameters' tree, such as "decoder/layers/0/attention/key/kernel". The state
of an optimizer that mirrors parameters ends in the same paths, and is divided alike. A rule is
written for the last dimensions: those of a stack of layers come before them, whole.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax.sharding import PartitionSpec

from attention_jax.parallel.mesh import MeshShape
from attention_jax.parallel.placement import Tree

F, T = "fsdp", "tensor"
# `fsdp` divides what is stored, and is gathered before use; `tensor` divides the computation too.
# Of two maps in a row the first is divided by `tensor` along its outputs, the second along its
# inputs, so that one sum over devices follows both. Cells mix all units at each position: divided
# by `tensor`, they would ask for a sum at each.
RULES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"embedding/table/embedding", (T, F)),
    (r"embedding/learned/embedding", (None, F)),
    (r"(query|key|value)/kernel", (F, T)),
    (r"(query|key|value)/bias", (T,)),
    (r"attention/out/kernel", (T, F)),
    (r"(up|feed_forward/gate)/kernel", (F, T)),
    (r"(up|feed_forward/gate)/bias", (T,)),
    (r"down/kernel", (T, F)),
    (r"output/kernel", (F, T)),
    (r"(dense_[hi]|gates?|bridge|combine|enter|project\w*|convolutions/\d+)/kernel", (F, None)),
)
_COMPILED = tuple((re.compile(rf"(?:^|/)(?:\w+_)?{path}$"), axes) for path, axes in RULES)
_LEARNED = "/learned/"  # parameters of a variant, of which some have an axis of heads
_LAYER = re.compile(r"(?:^|/)layers/(?!\d)")  # a stack over which a loop goes


class Placed(NamedTuple):
    """How a leaf is divided.

    Attributes:
      spec: axes of the mesh along its dimensions.
      why_not: why a dimension that a rule divides is whole, "" where none is.
    """

    spec: PartitionSpec
    why_not: str = ""


def path_name(path: tuple) -> str:
    """The path of a leaf, its keys separated by slashes."""
    return "/".join(str(_key(key)) for key in path)


def _key(key: Any) -> Any:
    found = (getattr(key, name, None) for name in ("key", "idx", "name"))
    return next((x for x in found if x is not None), key)


def place(name: str, shape: tuple[int, ...], mesh: MeshShape, *, heads: int = 0) -> Placed:
    """How a parameter lies on a mesh.

    Args:
      name: its path.
      shape: of the parameter.
      mesh: sizes of the axes.
      heads: of the attention that it belongs to, 0 for unknown. A parameter that a variant learns
        for each head is divided as heads are.

    >>> found = place("layers/0/attention/key/kernel", (64, 32), MeshShape(fsdp=4, tensor=2))
    >>> tuple(found.spec)
    ('fsdp', 'tensor')
    >>> place("output/kernel", (64, 31), MeshShape(tensor=2)).why_not
    'tensor=2 does not divide 31'
    """
    axes = _axes_of(name, shape, heads)
    axes = (None,) * (len(shape) - len(axes)) + axes
    found: list[str | None] = []
    refused = []
    for axis, size in zip(axes, shape, strict=True):
        devices = 1 if axis is None else getattr(mesh, axis)
        fits = devices > 1 and size % devices == 0
        found.append(axis if fits else None)
        if devices > 1 and not fits:
            refused.append(f"{axis}={devices} does not divide {size}")
    while found and found[-1] is None:
        found.pop()
    return Placed(PartitionSpec(*found), "; ".join(refused))


def _axes_of(name: str, shape: tuple[int, ...], heads: int) -> tuple[str | None, ...]:
    """The axes of the last dimensions, as many as a rule names."""
    if _LEARNED in f"/{name}":
        own = shape[1:] if _LAYER.search(name) else shape
        # Of small arrays only the axis of heads is divided, so that none is gathered.
        return (T, *(None,) * (len(own) - 1)) if heads and own[:1] == (heads,) else ()
    for path, axes in _COMPILED:
        if path.search(name) and len(axes) <= len(shape):
            return axes
    return ()


def place_all(
    params: Tree, mesh: MeshShape, heads: Mapping[str, int] | None = None
) -> dict[str, Placed]:
    """How each parameter lies on a mesh, by its path.

    Args:
      params: arrays or shapes.
      mesh: sizes of the axes.
      heads: numbers of heads by the paths of attentions.
    """
    found = {}
    for path, x in jax.tree_util.tree_leaves_with_path(params):
        name = path_name(path)
        own = name.partition(_LEARNED)[0]
        found[name] = place(name, x.shape, mesh, heads=(heads or {}).get(own, 0))
    return found


def mirrored(tree: Tree, params: Tree, placed: Mapping[str, Placed]) -> Tree:
    """The specs of a tree whose leaves may mirror parameters: those of what they mirror.

    A leaf mirrors a parameter where its path ends in that one's and the shapes agree, as Adam's
    moments do; all others are whole on every device.
    """
    shapes = {path_name(p): x.shape for p, x in jax.tree_util.tree_leaves_with_path(params)}

    def spec(path: tuple, x: Any) -> PartitionSpec:
        for first in range(len(path)):
            name = path_name(path[first:])
            if shapes.get(name) == x.shape:
                return placed[name].spec
        return PartitionSpec()

    return jax.tree_util.tree_map_with_path(spec, tree)
