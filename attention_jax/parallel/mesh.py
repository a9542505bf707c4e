"""Meshes of devices, from text such as "data=2,fsdp=4".

mesh = make_mesh(parse("data=2,fsdp=-1"))      # on 8 devices fsdp is 4
"""

import math
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from attention_jax.core import plain_types
from attention_jax.core.calls import clear_fields
from attention_jax.core.plain_types import typed_calls

ROWS = ("data", "fsdp")  # axes that share the rows of a batch


@clear_fields
class MeshShape(NamedTuple):
    """Number of devices along each axis of a mesh; one of them may be -1, all that are left.

    Attributes:
      data: shares of the batch; each holds all parameters.
      fsdp: shares of the batch that share parameters and optimizer too, and gather a parameter
        where it is used (fully sharded data parallelism; Zhao et al. 2023, arXiv:2304.11277).
      tensor: shares of heads, of hidden units and of the vocabulary (Shoeybi et al. 2019,
        arXiv:1909.08053).
      context: shares of the positions of a sequence.
    """

    data: int = 1
    fsdp: int = 1
    tensor: int = 1
    context: int = 1

    def __str__(self) -> str:
        named = [f"{name}={size}" for name, size in self._asdict().items() if size != 1]
        return ",".join(named) or "data=1"

    @property
    def rows(self) -> int:
        """The number of shares of a batch."""
        return self.data * self.fsdp


AXES = MeshShape._fields


@typed_calls
def parse(text: str) -> MeshShape:
    """The shape that a text names; axes that it leaves out have one device.

    Raises:
      ValueError: an axis is unknown or named twice, or a size is no whole number above 0 nor -1.

    >>> parse("data=2,fsdp=-1")
    MeshShape(data=2, fsdp=-1, tensor=1, context=1)
    """
    found: dict[str, int] = {}
    for item in text.split(","):
        name, equals, size = (part.strip() for part in item.partition("="))
        if name not in AXES or not equals:
            raise ValueError(
                f"`mesh` must be axes with sizes, of {', '.join(AXES)}; got {item!r} in {text!r}. "
                "Write it as data=2,fsdp=4."
            )
        if name in found:
            raise ValueError(f"`mesh` must name an axis once; got {name} twice in {text!r}.")
        if not size.removeprefix("-").isdecimal() or not (int(size) > 0 or int(size) == -1):
            raise ValueError(
                f"`mesh` must have sizes from 1, or -1 for all devices that are left; got {name}="
                f"{size} in {text!r}."
            )
        found[name] = int(size)
    if list(found.values()).count(-1) > 1:
        raise ValueError(f"`mesh` may leave one axis open by -1; got {text!r}. Name the others.")
    return MeshShape(**found)


def completed(shape: MeshShape, devices: int) -> MeshShape:
    """The shape on so many devices, without -1.

    Raises:
      ValueError: it does not use all devices.

    >>> completed(MeshShape(data=-1, tensor=2), 8)
    MeshShape(data=4, fsdp=1, tensor=2, context=1)
    """
    plain_types.of_kind("shape", shape, MeshShape)
    fixed = math.prod(size for size in shape if size != -1)
    open_axis = next((name for name, size in shape._asdict().items() if size == -1), None)
    if open_axis is not None:
        if devices % fixed:
            raise ValueError(
                f"`mesh` must divide the {devices} devices that are here; with {open_axis}=-1 the "
                f"other axes of {shape} take {fixed}. Choose sizes whose product divides {devices}."
            )
        return shape._replace(**{open_axis: devices // fixed})
    if fixed != devices:
        axis = max(AXES, key=lambda name: getattr(shape, name))
        raise ValueError(
            f"`mesh` must use all of the {devices} devices that are here; {shape} uses {fixed}. "
            f"Leave an axis open, as {axis}=-1, or show the program that many devices."
        )
    return shape


def make_mesh(shape: MeshShape, devices: list[jax.Device] | None = None) -> Mesh:
    """A mesh of all devices, with axes that XLA divides programs along by itself.

    Neighbors on the last axes are close to each other: `tensor` and `context` speak the most.

    Args:
      shape: its axes.
      devices: its devices. Default: all of all processes.

    Raises:
      ValueError: the shape does not use all devices.
    """
    own = jax.devices() if devices is None else devices
    whole = completed(shape, len(own))
    if devices is None:
        return jax.make_mesh(tuple(whole), AXES, axis_types=(AxisType.Auto,) * len(AXES))
    placed = np.array(own, dtype=object).reshape(tuple(whole))
    return Mesh(placed, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def shape_of(mesh: Mesh) -> MeshShape:
    """The shape of a mesh that `make_mesh` made."""
    return MeshShape(**{name: mesh.shape[name] for name in AXES})
