"""Block maps: which pairs of query and key blocks the mask leaves, read at trace time."""

import functools
import itertools
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from jaxtyping import Int

from attention_jax.core import mask_bounds, program_keys, values
from attention_jax.core.jaxprs import inputs_used
from attention_jax.core.numerics import Offset
from attention_jax.core.types import MaskFunction
from attention_jax.engine import block_search
from attention_jax.engine.shapes import Shape, Sizes

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
# A function of a user's own is evaluated at every pair, which above so many takes too long.
MOST_PAIRS = 2**33

EMPTY, PARTIAL, FULL = range(3)


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


class BlockMap(NamedTuple):
    """The tiles to compute; those that are named nowhere are empty, and cost nothing.

    Tiles are kept as runs `[n, 4]`: blocks of heads and of queries, the first block of keys, and
    how many blocks of keys there are from there on; so a million of tokens takes some thousands.

    Attributes:
      sizes: of a tile.
      counts: numbers of blocks: of heads, of queries, of keys.
      partial_runs: tiles where some pairs are hidden, or may be.
      full_runs: those where all pairs are visible, so that the mask is not asked.
      is_exact: whether no partial tile is empty by what is known of each mask by itself.
    """

    sizes: Sizes
    counts: tuple[int, int, int]
    partial_runs: Int[np.ndarray, "n 4"]
    full_runs: Int[np.ndarray, "n 4"]
    is_exact: bool = True

    @property
    def key(self) -> Hashable:
        """The same for equal maps."""
        return (
            self.sizes,
            self.counts,
            self.partial_runs.tobytes(),
            self.full_runs.tobytes(),
            self.is_exact,
        )

    @property
    def partial(self) -> Int[np.ndarray, "n 3"]:
        """The partial tiles, one by one."""
        return tiles_of(self.partial_runs)

    @property
    def full(self) -> Int[np.ndarray, "n 3"]:
        """The full tiles, one by one."""
        return tiles_of(self.full_runs)

    @property
    def skipped(self) -> float:
        """The share of the tiles that is not computed."""
        whole = math.prod(self.counts)
        taken = int(self.partial_runs[:, 3].sum()) + int(self.full_runs[:, 3].sum())
        return 1 - taken / whole if whole else 0.0


def tiles_of(runs: Int[np.ndarray, "n 4"]) -> Int[np.ndarray, "m 3"]:
    """The tiles of runs: blocks of heads, queries and keys."""
    count = runs[:, 3]
    before = np.repeat(np.cumsum(count) - count, count)
    tiles = np.repeat(runs[:, :3], count, axis=0)
    tiles[:, 2] += np.arange(len(tiles), dtype=tiles.dtype) - before.astype(tiles.dtype)
    return tiles


def choose_sizes(
    shape: Shape,
    block_sizes: tuple[int, int] | None = None,
    *,
    masked: bool = True,
    width: int = 1,
    devices: int = 1,
) -> Sizes:
    """Sizes of a tile; blocks of one kind are of one length, so that little is padded.

    Args:
      block_sizes: queries and keys in a block, at most; None for what is fastest on a CPU.
      masked: whether there is a mask.
      width: numbers that the score of one pair holds at once; see `jaxprs.Parts`.
      devices: that may share the batch and the heads, so that a tile takes some of each share.
    """
    b, g, r, t, s = shape.known
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
    return Sizes(_heads(shape.known, fit, devices), **sizes)


def _heads(shape: Shape, fit: int, devices: int) -> int:
    """The most heads that fit, of those numbers that every share of `devices` has a part in."""
    shares = [math.gcd(max(n, 1), devices) for n in (shape.b, shape.g)]
    whole = []
    for n in _divisors(max(shape.b * shape.g, 1)):
        both = zip(Sizes(n, 1, 1).together(shape), shares, strict=True)
        if all(together % share == 0 for together, share in both):
            whole.append(n)
    return max((n for n in whole if n <= fit), default=whole[0])


def _divisors(number: int) -> list[int]:
    low = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return sorted({*low, *(number // n for n in low)})


def block_map(
    conjuncts: Sequence[TracedMask],
    shape: Shape,
    sizes: Sizes,
    offsets: tuple[Offset, Offset],
) -> BlockMap:
    """Sorts all pairs of blocks into empty, partial and full; once for equal requests.

    Masks of the library are read off the bounds of the blocks (`core.mask_bounds`), a function of
    a user's own is evaluated at every pair.

    Args:
      conjuncts: masks of which a pair needs all; those that read traced data, or any under a
        traced offset, leave blocks partial that the others do not empty.
      offsets: positions of the first query and of the first key.
    """
    unknown = [x for x in conjuncts if x.used[0] and not shape.is_known]
    rest, shape = [x for x in conjuncts if x not in unknown], shape.known
    if any(isinstance(x, jax.core.Tracer) for x in offsets):
        return _kept((), shape, sizes, (0, 0), bool(conjuncts))
    starts = int(offsets[0]), int(offsets[1])
    known, of_data = [], []
    for mask in rest:
        (known if mask.is_known(starts) else of_data).append(mask)
    parts = tuple(_Part.of(mask) for mask in known)
    told = [_Part(mask.function, mask) for mask in of_data]
    told = [x for x in told if x.has_bounds(shape)]
    if told:
        return _search((*parts, *told), shape, sizes, starts, True)
    return _kept(parts, shape, sizes, starts, bool(unknown or of_data))


class _Part:
    """A mask whose blocks are known, equal to others that have the same."""

    def __init__(self, key: Hashable, mask: TracedMask):
        self.key, self.mask = key, mask

    @classmethod
    def of(cls, mask: TracedMask) -> "_Part":
        settled = values.is_settled(mask.function)
        return cls(mask.function if settled else program_keys.whole(mask.program), mask)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Part) and values.same(self.key, other.key)

    def __hash__(self) -> int:
        return values.hash_of(self.key)

    def seen(self, at: mask_bounds.Blocks) -> mask_bounds.Seen | None:
        return mask_bounds.seen(self.mask.function, at)

    def has_bounds(self, shape: Shape) -> bool:
        one = np.zeros(1, np.int64)
        places = ((b, 0) for b in range(shape.b if self.mask.used[0] else 1))
        blocks = (mask_bounds.Blocks(b, h, one, one, one, one) for b, h in places)
        return all(self.seen(at) is not None for at in blocks)


@functools.lru_cache(maxsize=256)
def _kept(
    parts: tuple[_Part, ...],
    shape: Shape,
    sizes: Sizes,
    offsets: tuple[int, int],
    others: bool,
) -> BlockMap:
    return _search(parts, shape, sizes, offsets, others)


def _search(
    parts: tuple[_Part, ...],
    shape: Shape,
    sizes: Sizes,
    offsets: tuple[int, int],
    others: bool,
) -> BlockMap:
    """The map of `block_map`.

    Args:
      others: whether there are masks of which nothing is known, so that no tile is full.
    """
    counts = (
        shape.b * shape.g // sizes.heads,
        -(-shape.t // sizes.queries),
        -(-shape.s // sizes.keys),
    )
    by_bounds = [x for x in parts if x.has_bounds(shape)]
    by_pairs = [x for x in parts if x not in by_bounds]
    looked = [x for x in by_pairs if _pairs(x.mask, shape) <= MOST_PAIRS]
    apart = any(any(x.mask.used[:2]) for x in (*by_bounds, *looked))
    others = others or looked != by_pairs
    looks = [_look(x.mask, shape, sizes, offsets) for x in looked]
    found = []
    for chunk in range(counts[0] if apart else min(counts[0], 1)):
        bounds = _by_bounds(by_bounds, shape, sizes, offsets, chunk)
        classify = _classifier(bounds, [look(chunk) for look in looks], others)
        found.append(block_search.search(*counts[1:], classify))
    every = found if apart else found * counts[0]
    partial, full = (
        _with_chunks([getattr(x, name) for x in every]) for name in ("partial", "full")
    )
    exact = looked == by_pairs and all(x.is_exact for x in found)
    return BlockMap(sizes, counts, partial, full, exact)


def _with_chunks(runs: list[block_search.Runs]) -> np.ndarray:
    numbered = [np.stack([np.full(len(x.row), n), *x], -1) for n, x in enumerate(runs)]
    return np.concatenate([np.zeros((0, 4), int), *numbered]).astype(np.int32)


def _pairs(mask: TracedMask, shape: Shape) -> int:
    """How many pairs must be looked at to know a mask."""
    b, g, r, t, s = shape
    return (b if mask.used[0] else 1) * (g * r if mask.used[1] else 1) * t * s


def _members(
    used: tuple[bool, ...], shape: Shape, sizes: Sizes, chunk: int
) -> tuple[np.ndarray, np.ndarray]:
    """The sequences and query heads of a chunk that a mask tells apart."""
    bs, gs = map(np.asarray, sizes.members(shape, np.asarray(chunk, np.int32)))
    hs = (gs[:, None] * shape.r + np.arange(shape.r, dtype=np.int32)).reshape(-1)
    return bs if used[0] else bs[:1] * 0, hs if used[1] else hs[:1] * 0


def _by_bounds(
    parts: Sequence[_Part], shape: Shape, sizes: Sizes, offsets: tuple[int, int], chunk: int
) -> block_search.Classify:
    """Tells of blocks of tiles of a chunk whether masks show some pairs, or all."""
    (_, _, _, t, s), (_, queries, keys) = shape, sizes
    members = [_members(x.mask.used, shape, sizes, chunk) for x in parts]

    def classify(top: Any, bottom: Any, left: Any, right: Any) -> Any:
        # Blocks at the end may hold padding, which is hidden.
        every = ((bottom + 1) * queries <= t) & ((right + 1) * keys <= s)
        some = np.ones_like(every)
        i, last_i = (offsets[0] + np.minimum(x, t) for x in (top * queries, (bottom + 1) * queries))
        j, last_j = (offsets[1] + np.minimum(x, s) for x in (left * keys, (right + 1) * keys))
        for part, (bs, hs) in zip(parts, members, strict=True):
            places = itertools.product(bs.tolist(), hs.tolist())
            at = (mask_bounds.Blocks(b, h, i, last_i - 1, j, last_j - 1) for b, h in places)
            found: list[Any] = [part.seen(x) for x in at]
            some &= np.any([x.some for x in found], axis=0)
            every &= np.all([x.every for x in found], axis=0)
        return some, every

    return classify


def _classifier(
    bounds: block_search.Classify, tables: Sequence[np.ndarray], others: bool
) -> block_search.Classify:
    """The same with the kinds of single tiles; none is full where there are `others`."""

    def classify(top: Any, bottom: Any, left: Any, right: Any) -> Any:
        some, every = bounds(top, bottom, left, right)
        one = (top == bottom) & (left == right)
        for table in tables:
            kinds = np.where(one, table[top, left], PARTIAL)
            some, every = some & (kinds != EMPTY), every & (kinds == FULL)
        return some, every & (not others)

    return classify


def _even(length: int, most: int) -> int:
    """The size of the fewest blocks of at most `most` that cover `length`."""
    return -(-length // max(-(-length // max(most, 1)), 1)) or 1


def _look(
    mask: TracedMask, shape: Shape, sizes: Sizes, offsets: tuple[int, int]
) -> Callable[[int], np.ndarray]:
    """`chunk of heads -> kinds [query blocks, key blocks]`, by the mask at every pair."""
    _, _, _, t, s = shape
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

    @functools.cache
    def table(bs: tuple[int, ...], hs: tuple[int, ...]) -> np.ndarray:
        heads = np.asarray(bs, np.int32), np.asarray(hs, np.int32)
        # What is read here are constants of the program, which a user's guard does not mean.
        with jax.ensure_compile_time_eval(), jax.transfer_guard("allow"):
            rows = [row(*heads, np.int32(i)) for i in range(-(-t // sizes.queries))]
        return np.stack([np.asarray(x) for x in rows])

    def look(chunk: int) -> np.ndarray:
        bs, hs = _members(used, shape, sizes, chunk)
        return table(tuple(bs.tolist()), tuple(hs.tolist()))

    return look
