"""Checkpoints that survive a kill at any moment and detect damage.

checkpoints = Checkpoints("run/checkpoints", keep_last=3)
checkpoints.save(500, {"params": params, "opt": opt}, extra={"tokens": 81_920}, metric=0.31)
step, tree, extra = checkpoints.restore_latest({"params": params, "opt": opt})
tree = checkpoints.restore_best({"params": params}).tree          # part of the tree will do
"""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attention_jax.core.extras import needed
from attention_jax.core.plain_types import typed_calls
from attention_jax.training.digests import by_path, digest, sha256, shapes
from attention_jax.training.quiet_orbax import quiet_orbax

with needed("train"):
    from orbax.checkpoint import v1 as ocp

Tree = dict[str, Any]  # named pytrees of arrays, such as {"params": ..., "opt": ...}
Json = Mapping[str, Any]  # plain data that JSON can hold

_log = logging.getLogger(__name__)


class CheckpointDamaged(RuntimeError):
    """The files of a checkpoint do not hold what was saved."""


class CheckpointForeign(ValueError):
    """A checkpoint is of another run, another model, or another step than where it stands."""


class Restored(NamedTuple):
    """A checkpoint: its step, its arrays in the structure of the template, and its plain data."""

    step: int
    tree: Tree
    extra: dict[str, Any]


class Checkpoints:
    """A folder of checkpoints, each in a folder `step_<number>` of its own.

    A checkpoint appears whole or not at all (Orbax writes it aside and renames it). It records the
    SHA-256 of every named tree and of its plain data, since a flipped byte would load unnoticed.

    Args:
      folder: folder of the checkpoints; created by the first save.
      keep_last: number of scheduled checkpoints to keep. The newest two always stay, so that there
        is one to fall back to.
      keep_best: keeps the checkpoint of the highest metric too.
      identity: what the checkpoints belong to, such as `{"run": "5b1d", "model": "rnn"}`; sealed
        into each, and demanded of each. Empty: nothing is demanded.

    Raises:
      ValueError: `keep_last` is below 1.
    """

    @typed_calls
    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        keep_last: int = 1,
        keep_best: bool = True,
        identity: Mapping[str, str] | None = None,
    ):
        if keep_last < 1:
            raise ValueError(f"`keep_last` must be at least 1; got {keep_last}.")
        self._identity = dict(identity or {})
        self.folder = Path(folder).absolute()
        self._keep_last, self._keep_best = keep_last, keep_best
        self._records: dict[int, dict[str, Any]] = {}

    def steps(self, *, scheduled: bool = False) -> list[int]:
        """Steps of the saved checkpoints, in order; damaged ones included, unless `scheduled`.

        Args:
          scheduled: only readable checkpoints that were saved on schedule.
        """
        folders = self.folder.glob("step_*")
        steps = sorted(int(f.name[5:]) for f in folders if f.name[5:].isdigit())
        if not scheduled:
            return steps
        return [step for step in steps if (self._try_record(step) or {}).get("scheduled")]

    def save(
        self,
        step: int,
        tree: Tree,
        *,
        extra: Json | None = None,
        metric: float | None = None,
        scheduled: bool = True,
    ) -> None:
        """Saves `tree`, then deletes checkpoints that need not be kept.

        Args:
          step: number of the checkpoint; an existing one of the same number is replaced.
          tree: named pytrees of arrays.
          extra: plain data that JSON can hold.
          metric: score of the checkpoint, higher is better; None if it was not evaluated.
          scheduled: False for a checkpoint off schedule, which counts neither for `keep_last` nor
            for averaging, so that an interruption does not change the result.

        Raises:
          OSError: the disk is full, or the folder may not be written.
        """
        arrays = {name: _flatten(part) for name, part in tree.items()}
        facts = {"extra": dict(extra or {}), "metric": metric, "scheduled": scheduled}
        text = self.record(step, arrays, {n: digest(part) for n, part in arrays.items()}, facts)
        self.make_room(step)
        self.write(step, arrays, text)
        self.settle(step, text)

    def record(self, step: int, arrays: Tree, digests: Mapping[str, str], facts: Json) -> str:
        """The text that is sealed into a checkpoint.

        Args:
          arrays: by tree and path.
          digests: of each tree.
          facts: `extra`, `metric` and `scheduled` of `save`.
        """
        record = {
            "step": step,
            "identity": self._identity,
            **facts,
            "shapes": {name: shapes(part) for name, part in arrays.items()},
            "sha256": dict(digests),
        }
        return json.dumps(record)

    def make_room(self, step: int) -> None:
        """Removes what a killed process left, and a checkpoint of the same number."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        self._delete([step])

    def write(self, step: int, arrays: Tree, text: str) -> None:
        """Writes a checkpoint, each process of several what its devices hold.

        Args:
          arrays: by tree and path.
          text: of `record`.

        Raises:
          OSError: the disk is full, or the folder may not be written.
        """
        sealed: dict[str, Any] = {"record": text, "sha256": sha256(text)}
        filled = {name: part for name, part in arrays.items() if part}
        try:
            with quiet_orbax():
                ocp.save_checkpointables(str(self._path(step)), filled, custom_metadata=sealed)
        except (ValueError, OSError, RuntimeError) as error:  # of tensorstore, on a full disk
            why = next(iter(str(error).splitlines()), type(error).__name__)
            raise OSError(
                f"The checkpoint of step {step} cannot be written to {self.folder}; earlier ones "
                f"stay. Make room on the disk, and go on with --resume. It was: {why[-200:]}"
            ) from error

    def settle(self, step: int, text: str) -> None:
        """Notes what was written, and deletes checkpoints that need not be kept."""
        # Known without reading it back: tensorstore leaks a few objects an array at each reading.
        self._records[step] = json.loads(text)
        self._delete(set(self.steps()) - self._kept())

    def restore(self, step: int, template: Tree) -> Restored:
        """Restores the checkpoint of one step.

        Args:
          step: number of the checkpoint.
          template: the saved tree, or some of its names, as arrays or shapes with dtypes.

        Raises:
          FileNotFoundError: there is no checkpoint of this step.
          CheckpointForeign: it is of another run or step.
          CheckpointDamaged: its files cannot be read, or differ from what was saved.
          ValueError: structure or shapes of the template differ from what was saved.
        """
        if step not in self.steps():
            raise FileNotFoundError(
                f"`step` must be one of {self.steps()} in {self.folder}; got {step}."
            )
        record = self._record(step)
        wanted = {name: _flatten(part, shapes_only=True) for name, part in template.items()}
        for name, part in wanted.items():
            _check_same(f"{self._path(step)}, {name!r}", record["shapes"].get(name), shapes(part))
        try:
            filled = {name: part for name, part in wanted.items() if part}
            with quiet_orbax(), _alone():
                arrays = ocp.load_checkpointables(str(self._path(step)), filled)
        except Exception as error:  # Orbax and its storage raise all kinds of errors here.
            raise self._damaged(step, f"{type(error).__name__} on reading it") from error
        tree = {}
        for name, like in template.items():
            part = arrays.get(name, {})
            if digest(part) != record["sha256"][name]:
                raise self._damaged(step, f"the checksum of {name!r} differs")
            tree[name] = _unflatten(part, like)
        return Restored(step, tree, record["extra"])

    def restore_latest(self, template: Tree) -> Restored | None:
        """Restores the newest whole checkpoint; None if nothing was saved.

        Damaged checkpoints are named in a warning and skipped.

        Raises:
          CheckpointDamaged: all of them are damaged.
          CheckpointForeign: one is of another run or step.
          ValueError: structure or shapes of the template differ from what was saved.
        """
        return self._first_whole(reversed(self.steps()), template)

    def restore_best(self, template: Tree) -> Restored | None:
        """Restores the whole checkpoint of the highest metric, the oldest of equals; None if none.

        Raises: as `restore_latest`.
        """
        return self._first_whole(self._by_metric(), template)

    def average(self, steps: Sequence[int], template: Tree) -> Tree:
        """Mean of several checkpoints, computed in float64, each leaf in its own dtype.

        Args:
          steps: numbers of the checkpoints. Integer leaves are those of the last one.
          template: the part to average, such as `{"params": params}`.

        Raises: as `restore`, and ValueError if `steps` is empty.

        Reference: Vaswani et al. 2017, arXiv:1706.03762, section 6.1.
        """
        if not steps:
            raise ValueError("`steps` must name at least one checkpoint; got none.")
        total = None
        for step in steps:
            tree = self.restore(step, template).tree
            wide = jax.tree.map(lambda x: np.asarray(x).astype(_wide(x.dtype)), tree)
            total = wide if total is None else jax.tree.map(_plus, total, wide)
        count = len(steps)
        return jax.tree.map(
            lambda x, like: jnp.asarray(x / count if x.dtype == np.float64 else x, like.dtype),
            total,
            tree,
        )

    def forget(self) -> None:
        """Forgets what is known of checkpoints, which another process may have changed."""
        self._records.clear()

    def delete_after(self, step: int) -> None:
        """Deletes the checkpoints beyond `step`, which training is about to repeat."""
        self._delete(other for other in self.steps() if other > step)

    def _first_whole(self, steps: Iterable[int], template: Tree) -> Restored | None:
        damaged = []
        for step in steps:
            try:
                return self.restore(step, template)
            except CheckpointDamaged as error:
                _log.warning("%s It is skipped for the one before.", error)
                damaged.append(step)
        if damaged:
            raise CheckpointDamaged(
                f"No checkpoint in {self.folder} is whole; steps {damaged} are damaged. Start anew."
            )
        return None

    def _kept(self) -> set[int]:
        everything, scheduled = self.steps(), self.steps(scheduled=True)
        best = self._by_metric()[:1] if self._keep_best else []
        return {*everything[-2:], *scheduled[-self._keep_last :], *best}

    def _by_metric(self) -> list[int]:
        records = {step: self._try_record(step) for step in self.steps()}
        rated = {step: r["metric"] for step, r in records.items() if r and r["metric"] is not None}
        return sorted(rated, key=lambda step: (-rated[step], step))

    def _path(self, step: int) -> Path:
        return self.folder / f"step_{step:09d}"

    def _record(self, step: int) -> dict[str, Any]:
        if step in self._records:
            return self._records[step]
        try:
            with quiet_orbax(), _alone():
                sealed: Any = ocp.metadata(str(self._path(step))).custom_metadata
            text, digest = sealed["record"], sealed["sha256"]
        except Exception as error:  # Orbax raises all kinds of errors here.
            raise self._damaged(step, f"{type(error).__name__} on reading it") from error
        if sha256(text) != digest:
            raise self._damaged(step, "the checksum of its record differs")
        record = json.loads(text)
        self._check_identity(step, record)
        self._records[step] = record
        return record

    def _check_identity(self, step: int, record: dict[str, Any]) -> None:
        """Refuses a checkpoint that was renamed, or put here from elsewhere."""
        where = f"`checkpoints` must be those of one run; {self._path(step)} is"
        remedy = "Move it away, or put back the one that belongs there."
        if record.get("step", step) != step:
            raise CheckpointForeign(f"{where} that of step {record['step']}, renamed. {remedy}")
        for name, own in self._identity.items():
            other = record.get("identity", {}).get(name)
            if other != own:
                raise CheckpointForeign(
                    f"{where} of {name} {other or 'unknown'}, and this is {name} {own}. {remedy}"
                )

    def _try_record(self, step: int) -> dict[str, Any] | None:
        try:
            return self._record(step)
        except CheckpointDamaged:
            return None

    def _damaged(self, step: int, why: str) -> CheckpointDamaged:
        return CheckpointDamaged(f"The checkpoint {self._path(step)} is damaged: {why}.")

    def _delete(self, steps: Iterable[int]) -> None:
        for step in list(steps):
            self._records.pop(step, None)
            path = self._path(step)
            if path.exists():
                # Renamed first: a kill in between must not leave half a checkpoint.
                aside = path.with_name(f"deleted_{path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
                shutil.rmtree(aside)

    def _sweep(self) -> None:
        """Removes leftovers of a killed process."""
        for path in self.folder.iterdir():
            if path.name.startswith("deleted_") or ".orbax-checkpoint-tmp" in path.name:
                shutil.rmtree(path, ignore_errors=True)


def _alone() -> contextlib.AbstractContextManager:
    """Lets Orbax wait for no other process: the files of a run are written by one of several."""
    if jax.process_count() == 1:
        return contextlib.nullcontext()
    own = jax.process_index()
    options = ocp.options.MultiprocessingOptions(primary_host=own, active_processes={own})
    return ocp.Context(multiprocessing_options=options)


def _flatten(tree: Any, *, shapes_only: bool = False) -> dict[str, np.ndarray]:
    """Arrays of a pytree by path, on the host."""
    named = by_path(tree)
    if shapes_only:
        return {name: np.empty(x.shape, x.dtype) for name, x in named.items()}
    return {name: np.asarray(x) for name, x in jax.device_get(named).items()}


def _unflatten(arrays: Mapping[str, np.ndarray], like: Any) -> Any:
    def leaf(path, x):
        value = arrays.get(jax.tree_util.keystr(path))
        value = np.empty(x.shape, x.dtype) if value is None else value
        sharding = getattr(x, "sharding", None)
        if sharding is None or len(sharding.device_set) == 1:
            # Uncommitted, like the output of a jitted function, which spares a second compilation.
            return jnp.array(value)
        return jax.device_put(value, sharding)

    return jax.tree_util.tree_map_with_path(leaf, like)


def _check_same(where: str, saved: Mapping[str, str] | None, wanted: Mapping[str, str]) -> None:
    if saved is None:
        raise ValueError(f"`template` must hold names that were saved; {where} was not.")
    for path in [*wanted, *saved]:
        if saved.get(path) != wanted.get(path):
            raise ValueError(
                "`template` must have the structure and shapes of the checkpoint; at "
                f"{path or 'the root'} the checkpoint ({where}) has {saved.get(path, 'nothing')}, "
                f"the model {wanted.get(path, 'nothing')}. Build the model with the settings it "
                "was trained with, or start in another folder."
            )


def _wide(dtype: Any) -> Any:
    return np.float64 if jnp.issubdtype(dtype, jnp.floating) else dtype


def _plus(total: Any, x: Any) -> Any:
    return total + x if x.dtype == np.float64 else x
