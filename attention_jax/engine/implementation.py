"""An implementation of `attention` as data, and the finding of all of them by their folder.

A file of this folder that ends in

    IMPLEMENTATION = Implementation("mine", rank=35, refuse=..., prefer=..., run=..., plan=...)

is one, and is written down nowhere else. A file named after another, as `pallas_kernels` is after
`pallas`, belongs to that one, which imports it where it needs it: what it imports may be slow to
load, or not be installed.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import NamedTuple

import jax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, PyTree

from attention_jax import engine
from attention_jax.engine.block_map import BlockMap
from attention_jax.engine.request import Request

# The output `[b t h e]`; with `return_lse` also the log-sum-exp `[b t h]`.
Output = Array | tuple[Array, Array]


# Names by which policies of `jax.checkpoint` can keep what the backward pass needs.
OUTPUT_NAME, LSE_NAME = "attention_output", "attention_lse"


def named_output(out: Array) -> Array:
    """The output, under its name for policies of `jax.checkpoint`."""
    return checkpoint_name(out, OUTPUT_NAME)


def named_rows(rows: PyTree) -> PyTree:
    """Statistics of the rows (the log-sum-exp of a softmax), under their name."""
    return jax.tree.map(lambda x: checkpoint_name(x, LSE_NAME), rows)


class Plan(NamedTuple):
    """How `attention` would run.

    Attributes:
      implementation: its name.
      reason: why this one.
      block_sizes: queries and keys in a block; None where there are no blocks.
      skipped: the share of the blocks that the mask empties, as far as it is known before a run.
      temporary_bytes: an estimate of the working memory of the forward pass.
      context: how shards come by keys and values, where an axis of a mesh divides the sequence;
        the others are then of a shard, and where each shard begins only a run knows.
    """

    implementation: str
    reason: str = ""
    block_sizes: tuple[int, int] | None = None
    skipped: float = 0.0
    temporary_bytes: int = 0
    context: str = ""


class Implementation(NamedTuple):
    """One way to run a request.

    Attributes:
      name: as `implementation=` takes it.
      rank: the order in which they are asked, the fastest first.
      refuse: why it cannot honor a request on this device; None where it can.
      prefer: why to pick it where none is named; None where it only runs by its name.
      run: computes the request; called where `refuse` gives None.
      plan: the blocks and the memory of `run`; the reason is filled in by `attention_jax.plan`.
      tile: the tiles of `run`, which then takes them from the request, and may be compiled with all
        arrays as arguments; None where it must read what functions captured.
      nests: whether it is compiled so inside transformations too.
      symbolic: letters of the axes whose lengths may be symbolic, as `jax.export` makes them.
    """

    name: str
    rank: int
    refuse: Callable[[Request], str | None]
    prefer: Callable[[Request], str | None]
    run: Callable[[Request], Output]
    plan: Callable[[Request], Plan]
    tile: Callable[[Request], BlockMap | None] | None = None
    nests: bool = True
    symbolic: str = ""

    def refusal(self, request: Request) -> str | None:
        """The reason of `refuse`, or the axes whose lengths must be known."""
        unknown = [f"{x}={n}" for x, n in request.symbolic.items() if x not in self.symbolic]
        if unknown:
            return f"it needs lengths that are known; got {', '.join(unknown)}."
        return self.refuse(request)


@functools.cache
def implementations() -> tuple[Implementation, ...]:
    """Every implementation of the folder, the fastest first."""
    names = [module.name for module in pkgutil.iter_modules(engine.__path__)]
    alone = [x for x in names if not any(x.startswith(f"{other}_") for other in names)]
    modules = (importlib.import_module(f"{engine.__name__}.{name}") for name in alone)
    found = [x.IMPLEMENTATION for x in modules if hasattr(x, "IMPLEMENTATION")]
    return tuple(sorted(found, key=lambda x: (x.rank, x.name)))


def dense_bytes(request: Request) -> int:
    """Bytes of all scores, of what the pairs hold beside them, and of the vectors."""
    numbers = (1 + request.analysis.score.width) * request.shape.known.scores
    return (numbers + request.vector_numbers) * request.dtype.itemsize


def fastest(request: Request) -> str:
    """The reason of the fused kernels, where they can honor a request at all."""
    del request
    return "the fastest on this device that honors the request"
