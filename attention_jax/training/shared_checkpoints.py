"""Checkpoints of several processes: each writes what its devices hold, and process 0 seals it.

A checkpoint holds whole arrays, whatever the mesh and the number of processes, so that it resumes
on any other. To be sealed, one array after the other is brought to the hosts; what is restored
is what process 0 reads, which it sends to the others. All processes must see the folder.
"""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from attention_jax.parallel import placement, processes
from attention_jax.training.checkpoints import (
    CheckpointDamaged,
    CheckpointForeign,
    Checkpoints,
    Json,
    Restored,
    Tree,
)
from attention_jax.training.digests import by_path, digest

# The more special first: names tell them apart.
_RAISES = (CheckpointDamaged, CheckpointForeign, ValueError, FileNotFoundError, OSError)


class SharedCheckpoints:
    """As `Checkpoints`, for trees whose leaves lie on devices of several processes.

    Every process calls each method. Errors of process 0 are raised on all.

    Args:
      own: of this process.
    """

    def __init__(self, own: Checkpoints):
        self._own, self.folder = own, own.folder

    def steps(self, *, scheduled: bool = False) -> list[int]:
        """As `Checkpoints.steps`."""
        return self._first(lambda: self._own.steps(scheduled=scheduled))

    def save(
        self,
        step: int,
        tree: Tree,
        *,
        extra: Json | None = None,
        metric: float | None = None,
        scheduled: bool = True,
    ) -> None:
        """As `Checkpoints.save`; `extra` is that of process 0."""
        arrays = {name: by_path(part) for name, part in tree.items()}
        digests = {name: digest(part, _brought) for name, part in arrays.items()}
        facts = {"extra": dict(extra or {}), "metric": metric, "scheduled": scheduled}

        def begin() -> str:
            self._own.make_room(step)
            return self._own.record(step, arrays, digests, facts)

        text = self._first(begin)
        self._own.write(step, arrays, text)
        self._first(lambda: self._own.settle(step, text))

    def restore_latest(self, template: Tree) -> Restored | None:
        """As `Checkpoints.restore_latest`, laid out as the template is."""
        return self._restored(self._own.restore_latest, template)

    def restore_best(self, template: Tree) -> Restored | None:
        """As `Checkpoints.restore_best`, laid out as the template is."""
        return self._restored(self._own.restore_best, template)

    def average(self, steps: Sequence[int], template: Tree) -> Tree:
        """As `Checkpoints.average`, on the hosts."""
        found: list[Tree] = []
        self._echo(lambda: self._own.average(steps, _shapes(template)))

        def read() -> None:
            found.append(self._own.average(steps, _shapes(template)))

        self._first(read)
        return _from_first(found[0] if found else None, template)

    def delete_after(self, step: int) -> None:
        """As `Checkpoints.delete_after`."""
        self._first(lambda: self._own.delete_after(step))

    def _restored(self, read: Callable[[Tree], Restored | None], template: Tree) -> Restored | None:
        found: list[Restored] = []
        self._echo(lambda: read(_shapes(template)))

        def on_first() -> list[Any] | None:
            restored = read(_shapes(template))
            if restored is None:
                return None
            found.append(restored)
            return [restored.step, json.dumps(restored.extra)]

        said = self._first(on_first)
        if said is None:
            return None
        host = _from_first(found[0].tree if found else None, template)
        tree = jax.tree.map(lambda x, like: placement.from_host(x, like.sharding), host, template)
        return Restored(said[0], tree, json.loads(said[1]))

    def _echo(self, read: Callable[[], object]) -> None:
        """Reads on the other processes too what process 0 is about to read.

        Orbax numbers what it does, and waits at the next save for processes of the same number.
        """
        if not processes.is_first():
            self._own.forget()
            with contextlib.suppress(Exception):  # of process 0 it is raised
                read()

    def _first(self, make: Callable[[], Any]) -> Any:
        return processes.on_first(make, raises=_RAISES)


def _shapes(template: Tree) -> Tree:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), template)


def _brought(x: jax.Array | np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(placement.fetch(x))


def _from_first(tree: Mapping[str, Any] | None, template: Tree) -> Tree:
    """The leaves of process 0 on the hosts of all."""
    like = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template)
    own = like if tree is None else jax.tree.map(np.asarray, tree)
    return jax.tree.map(processes.same_everywhere, own)
