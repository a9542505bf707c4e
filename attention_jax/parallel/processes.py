"""Several processes of one program: who writes files, and how all of them come to one decision.

Every process calls these functions at the same places. With one process they cost nothing.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Value = TypeVar("Value")


class FirstFailed(RuntimeError):
    """Process 0 failed at what it does for all; its own error says how."""


def several() -> bool:
    """True where the program runs in several processes."""
    return jax.process_count() > 1


def is_first() -> bool:
    """True for the process that writes files and speaks for all."""
    return jax.process_index() == 0


def on_first(make: Callable[[], Value], *, raises: Sequence[type[Exception]] = ()) -> Value:
    """Calls a function on process 0 alone, for all of them; where it raises, all do.

    Args:
      make: gives plain data that JSON can hold.
      raises: errors that the other processes raise as the same type.

    Raises:
      FirstFailed: on the other processes, for every other error.
    """
    if not several():
        return make()
    said: dict[str, Any] = {}
    error: Exception | None = None
    if is_first():
        try:
            said = {"value": make()}
        except Exception as raised:
            said, error = {"error": type(raised).__name__, "text": str(raised)}, raised
    said = _broadcast(said)
    if error is not None:
        raise error
    if "error" in said:
        kind = next((kind for kind in raises if kind.__name__ == said["error"]), FirstFailed)
        raise kind(said["text"])
    return said["value"]


def same_everywhere(leaf: np.ndarray) -> np.ndarray:
    """An array of process 0, on the hosts of all; the others give one of its shape and type."""
    return np.asarray(multihost_utils.broadcast_one_to_all(leaf)) if several() else leaf


def _broadcast(said: dict[str, Any]) -> dict[str, Any]:
    """Plain data of process 0."""
    own = np.frombuffer(json.dumps(said).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(own))))
    text = own if is_first() else np.zeros(size, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(text)).tobytes())


class Agreement:
    """The largest of what processes say each step, one step later, so that no step waits for it.

    Args:
      mesh: of all devices.
    """

    def __init__(self, mesh: Mesh):
        self._sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        whole = NamedSharding(mesh, PartitionSpec())
        self._most = jax.jit(lambda x: jnp.max(x, axis=0), out_shardings=whole)
        self._asked: jax.Array | None = None

    def __call__(self, *said: int) -> tuple[int, ...]:
        """Numbers said now; those agreed upon of the call before, zeros at the first."""
        shape = (self._sharding.mesh.size, len(said))
        own = np.array([said], np.int32)
        every = jax.make_array_from_callback(shape, self._sharding, lambda index: own)
        former, self._asked = self._asked, self._most(every)
        return (0,) * len(said) if former is None else tuple(np.asarray(former).tolist())
