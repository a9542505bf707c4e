"""Block maps: which pairs of query and key blocks the mask leaves, read at trace time."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from jaxtyping import Int

from attention_jax.core.jaxprs import inputs_used
from attention_jax.core.numerics import Offset
from attention_jax.core.types import MaskFunction

# Scores that are computed at once: enough work to share between cores, few enough for their caches.
TILE = 2**19
# Numbers that are held at once where a score is no dot product, but goes through a vector a pair.
HELD = 2**21
QUERIES, KEYS = 256, 256
# Keys where nothing is hidden, so that large blocks compute nothing in vain.
KEYS_UNMASKED = 512
# Where there are few heads, blocks grow in this order before a tile stays small.
GROWTH = (("keys", 512), ("queries", 512), ("keys", 1024))
# So few queries, as in decoding, leave nothing to skip by smaller blocks of keys.
FEW_QUERIES = 16
# The map is exact: the mask is evaluated at every pair, which above so many takes too long.
MOST_PAIRS = 2**33

EMPTY, PARTIAL, FULL = range(3)


class Shape(NamedTuple):
    """Sizes of a call: `b` sequences, `g` key heads of `r` query heads each."""

    b: int
    g: int
    r: int
    t: int
    s: int


class TracedMask(NamedTuple):
    """A mask, its program, and which of b, h, i, j that may depend on."""

    function: MaskFunction
    program: ClosedJaxpr
    used: tuple[bool, ...]

    @classmethod
    def of(cls, mask: MaskFunction, program: ClosedJaxpr | None = None) -> "TracedMask":
        """Traces a mask, where its program is not at hand."""
        program = jax.make_jaxpr(mask)(*[jnp.int32(0)] * 4) if program is None else program
        return cls(mask, program, inputs_used(program.jaxpr))

    def is_known(self, offsets: tuple[Offset, Offset]) -> bool:
        """True where the mask can be evaluated at trace time."""
        return not any(isinstance(x, jax.core.Tracer) for x in (*self.program.consts, *offsets))


class Sizes(NamedTuple):
    """Sizes of a tile.

    Attributes:
      heads: sequences times key heads that a tile takes together; divides their number.
      queries, keys: positions in a block.
    """

    heads: int
    queries: int
    keys: int


class BlockMap(NamedTuple):
    """The tiles to compute; those that are named nowhere are empty, and cost nothing.

    Attributes:
      sizes: of a tile.
      counts: numbers of blocks: of heads, of queries, of keys.
      partial: `[n, 3]` blocks of heads, queries and keys where some pairs are hidden, or may be.
      full: those where all pairs are visible, so that the mask is not asked.
    """

    sizes: Sizes
    counts: tuple[int, int, int]
    partial: Int[np.ndarray, "n 3"]
    full: Int[np.ndarray, "m 3"]

    @property
    def skipped(self) -> float:
        """The share of the tiles that is not computed."""
        whole = int(np.prod(self.counts))
        return 1 - (len(self.partial) + len(self.full)) / whole if whole else 0.0


def choose_sizes(
    shape: Shape,
    block_sizes: tuple[int, int] | None = None,
    *,
    masked: bool = True,
    width: int = 1,
) -> Sizes:
    """Sizes of a tile; blocks of one kind are of one length, so that little is padded.

    Args:
      block_sizes: queries and keys in a block, at most; None for what is fastest on a CPU.
      masked: whether there is a mask.
      width: numbers that the score of one pair holds at once; see `jaxprs.Parts`.
    """
    b, g, r, t, s = shape
    tile = min(TILE, max(HELD // width, 1))
    lengths = {"queries": t, "keys": s}
    most = dict(
        zip(lengths, block_sizes or (QUERIES, KEYS if masked else KEYS_UNMASKED), strict=True)
    )
    if block_sizes is None:
        most["queries"] = min(most["queries"], max(tile // (r * most["keys"]), 1))
    sizes = {axis: _even(lengths[axis], most[axis]) for axis in lengths}
    growth = (("keys", s),) if t <= FEW_QUERIES else GROWTH
    for axis, limit in growth if block_sizes is None else ():
        other = sizes["queries" if axis == "keys" else "keys"]
        room = tile // max(b * g * r * other, 1)
        sizes[axis] = _even(lengths[axis], max(sizes[axis], min(room, limit)))
    fit = max(tile // max(r * sizes["queries"] * sizes["keys"], 1), 1)
    heads = next(n for n in range(min(fit, b * g) or 1, 0, -1) if b * g % n == 0)
    return Sizes(heads, **sizes)


def block_map(
    conjuncts: Sequence[TracedMask],
    shape: Shape,
    sizes: Sizes,
    offsets: tuple[Offset, Offset],
) -> BlockMap:
    """Sorts all pairs of blocks into empty, partial and full.

    Args:
      conjuncts: masks of which a pair needs all; those that read traced data, or any under a
        traced offset, leave blocks partial that the others do not empty.
      offsets: positions of the first query and of the first key.
    """
    b, g, _, t, s = shape
    counts = b * g // sizes.heads, -(-t // sizes.queries), -(-s // sizes.keys)
    kinds = np.full(counts, FULL, np.uint8)
    # Blocks at the end may hold padding, which is hidden.
    if t % sizes.queries:
        kinds[:, -1] = PARTIAL
    if s % sizes.keys:
        kinds[:, :, -1] = PARTIAL
    for mask in conjuncts:
        kinds = np.minimum(kinds, _kinds(mask, shape, sizes, offsets, counts))
    return BlockMap(sizes, counts, _places(kinds == PARTIAL), _places(kinds == FULL))


def _even(length: int, most: int) -> int:
    """The size of the fewest blocks of at most `most` that cover `length`."""
    return -(-length // max(-(-length // max(most, 1)), 1)) or 1


def _places(chosen: np.ndarray) -> np.ndarray:
    return np.argwhere(chosen).astype(np.int32)


def _kinds(
    mask: TracedMask,
    shape: Shape,
    sizes: Sizes,
    offsets: tuple[Offset, Offset],
    counts: tuple[int, int, int],
) -> np.ndarray:
    by_b, by_h, _, _ = mask.used
    b, g, r, t, s = shape
    pairs = (b if by_b else 1) * (g * r if by_h else 1) * t * s
    if not mask.is_known(offsets) or pairs > MOST_PAIRS:
        return np.full(counts, PARTIAL, np.uint8)
    if not pairs:
        return np.full(counts, FULL, np.uint8)
    look = _look(mask, shape, sizes, offsets)
    if not (by_b or by_h):
        return np.broadcast_to(look(0), counts)
    return np.stack([look(chunk) for chunk in range(counts[0])])


def _look(
    mask: TracedMask, shape: Shape, sizes: Sizes, offsets: tuple[Offset, Offset]
) -> Callable[[int], np.ndarray]:
    """`chunk of heads -> [query blocks, key blocks]`, by the mask at every pair."""
    _, g, r, t, s = shape
    used, grid = mask.used, mask.function
    for axis in (3, 2, 1, 0):
        grid = jax.vmap(grid, [0 if axis == at else None for at in range(4)])
    places = np.minimum(np.arange(-(-s // sizes.keys) * sizes.keys, dtype=np.int32), s - 1)

    @jax.jit
    def row(bs, hs, i):
        at = jnp.minimum(i * sizes.queries + jnp.arange(sizes.queries, dtype=jnp.int32), t - 1)
        first, first_key = (jnp.asarray(x, jnp.int32) for x in offsets)
        seen = grid(bs, hs, first + at, first_key + places)
        seen = seen.reshape(-1, sizes.queries, places.size // sizes.keys, sizes.keys)
        return seen.any((0, 1, 3)).astype(jnp.uint8) + seen.all((0, 1, 3)).astype(jnp.uint8)

    def look(chunk: int) -> np.ndarray:
        heads = chunk * sizes.heads + np.arange(sizes.heads, dtype=np.int32)
        bs = np.unique(heads // g) if used[0] else np.zeros(1, np.int32)
        hs = ((heads % g)[:, None] * r + np.arange(r, dtype=np.int32)).reshape(-1)
        hs = np.unique(hs) if used[1] else np.zeros(1, np.int32)
        with jax.ensure_compile_time_eval():
            rows = [row(bs, hs, np.int32(i)) for i in range(-(-t // sizes.queries))]
        return np.stack([np.asarray(x) for x in rows])

    return look
