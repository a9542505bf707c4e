"""Documents that are packed into one sequence, for states that begin anew with each of them.

`runs_of` reads `masks.documents` as runs of positions. `reset` lets a state decay to nothing where
one begins, and `near` keeps a convolution inside.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core import masks
from attention_jax.core.types import AnyArray, MaskFunction
from attention_jax.variants._builders.chunked_scan import LOWEST


class Runs(NamedTuple):
    """Documents as runs of positions.

    Attributes:
      since: positions since the document began.
      inside: whether there is an id of the position.
      ids: of the document at each position.
    """

    since: Int[Array, "b t"]
    inside: Bool[Array, "#b t"]
    ids: Int[Array, "b t"]

    @property
    def first(self) -> Bool[Array, "b t"]:
        """Where a document begins."""
        return self.since == 0

    @property
    def start(self) -> Int[Array, "b t"]:
        """The index at which the document of each position begins."""
        return jnp.arange(self.since.shape[1], dtype=jnp.int32)[None] - self.since


def runs_of(
    name: str, mask: MaskFunction, *, batch: int, length: int, offset: int | Array, alone: bool
) -> Runs:
    """The runs of `masks.documents`.

    Args:
      name: of the variant, for errors.
      alone: whether no mask hides keys beside it.

    Raises:
      ValueError: queries and keys have ids of their own; or a document is known to go on after
        another, where keys of its first part are not hidden.
    """
    ids = masks.common_ids(mask)
    if ids is None:
        raise ValueError(
            f"{name} begins anew with each document, so `masks.documents` must have one array of "
            "ids for queries and keys; got two that are not known to be equal. Write "
            "`masks.documents(ids, ids)`."
        )
    if alone and isinstance(offset, int):
        _check_runs(name, ids, offset, offset + length)
    at = jnp.asarray(offset, jnp.int32) + jnp.arange(length, dtype=jnp.int32)
    inside = ((at >= 0) & (at < ids.shape[1]))[None]
    found = jnp.asarray(ids)[:, jnp.clip(at, 0, ids.shape[1] - 1)]
    found = jnp.broadcast_to(found, (batch, length))
    follows = (found[:, 1:] == found[:, :-1]) & (inside[:, 1:] & inside[:, :-1])
    place = jnp.arange(1, length, dtype=jnp.int32)[None]
    begun = jax.lax.cummax(jnp.where(follows, 0, place), axis=1)
    since = jnp.concatenate([jnp.zeros((batch, 1), jnp.int32), place - begun], axis=1)
    return Runs(since, inside, found)


def _check_runs(name: str, ids: AnyArray, first: int, end: int) -> None:
    """Raises where a document is known to go on after another."""
    if isinstance(ids, jax.core.Tracer) or not getattr(ids, "is_fully_addressable", True):
        return
    for row, own in enumerate(np.asarray(ids)[:, max(0, first) : end]):
        begun = own[np.append(True, own[1:] != own[:-1])]
        numbers, counts = np.unique(begun, return_counts=True)
        if (counts > 1).any():
            raise ValueError(
                f"The documents of `masks.documents` must be runs of positions for {name}, which "
                f"begins anew with each; got document {numbers[counts > 1][0]} of sequence {row} "
                "in parts. Give the parts ids of their own, or use scaled_dot."
            )


def torn(runs: Runs, visible: Bool[Array, "b t"]) -> Bool[Array, "b t"]:
    """Positions whose document has visible keys before the run that they are in."""

    def of_one(ids: Array, visible: Array, start: Array) -> Array:
        order = jnp.argsort(ids, stable=True)
        changes = jnp.diff(ids[order], prepend=ids[order][:1]) != 0
        group = jnp.cumsum(changes.astype(jnp.int32))
        place = jnp.where(visible, jnp.arange(len(ids), dtype=jnp.int32), len(ids))[order]
        earliest = jax.ops.segment_min(place, group, num_segments=len(ids))[group]
        return jnp.zeros_like(start).at[order].set(earliest) < start

    return jax.vmap(of_one)(runs.ids, visible, runs.start) & runs.inside


def reset(runs: Runs | None, log_decay: Float[Array, "b t h *d"]) -> Float[Array, "b t h *d"]:
    """Log-decays by which nothing is left of a state where a document begins."""
    if runs is None:
        return log_decay
    first = runs.first.reshape(*runs.first.shape, *[1] * (log_decay.ndim - 2))
    return jnp.where(first, LOWEST, log_decay)


def numbers(
    since: Int[Array, "b t"] | None, position: Int[Array, " b"], length: int
) -> Int[Array, "b t"]:
    """The number of each position in its document, from 1 on; 0 is left for what fills a block.

    Args:
      since: positions since the document began; None where no documents are packed.
      position: of the first.
    """
    if since is None:
        since = position[:, None] + jnp.arange(length, dtype=jnp.int32)[None]
    return since + 1


def near(runs: Runs | None, x: Float[Array, "b t h d"], lag: int) -> Float[Array, "b t h d"]:
    """The vector `lag` before each position, 0 where that is another document."""
    return x if runs is None else jnp.where((runs.since >= lag)[:, :, None, None], x, 0)


def seen_before(runs: Runs | None, marked: Bool[Array, "b t g"]) -> Bool[Array, "b t g"]:
    """Tells where a marked position stands at each or before it, in its document."""
    each = marked.astype(jnp.int32)
    counts = jnp.cumsum(each, axis=1)
    if runs is not None:
        earlier = counts - each
        counts = counts - jnp.take_along_axis(earlier, runs.start[:, :, None], axis=1)
    return counts > 0
