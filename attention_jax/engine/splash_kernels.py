"""Blocks, padding and masks for the kernels of JAX's Splash attention."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu import splash_attention as kernels_of_jax
from jaxtyping import Array, Bool, Float

from attention_jax.core import masks
from attention_jax.engine.implementation import OUTPUT_NAME
from attention_jax.engine.request import Request

# The TPU computes 128 numbers side by side: lengths and widths are padded to its multiples.
LANES = 128
# Queries, and keys, in a block, at most. Blocks of wide vectors are half as long, to fit a core.
BLOCK, NARROW = 512, 256


def block_sizes(t: int, s: int, width: int) -> tuple[int, int]:
    """Queries and keys in a block: the fewest blocks, and these as even as lanes allow."""
    most = BLOCK if width <= NARROW else BLOCK // 2
    even = (-(-n // -(-n // most)) for n in (t, s))
    queries, keys = (-(-n // LANES) * LANES for n in even)
    return queries, keys


def heads_first(x: Float[Array, "b n h d"], size: int) -> Float[Array, "b h m c"]:
    """Heads first, padded with zeros to whole blocks of `size` and whole lanes."""
    x = x.transpose(0, 2, 1, 3)
    lengths = zip(x.shape[2:], (size, LANES), strict=True)
    return jnp.pad(x, ((0, 0), (0, 0), *((0, -n % of) for n, of in lengths)))


class Tiles(kernels_of_jax.Mask):
    """The mask of one head, in blocks; Splash keeps one copy of those that are alike."""

    def __init__(self, shape: tuple[int, int], sizes: tuple[int, int]):
        self._shape, self._sizes = shape, sizes
        self._tiles: dict[tuple[int, int], np.ndarray] = {}
        # Most blocks are all hidden or all visible, and share these.
        self._uniform = {x: np.full(sizes, x) for x in (False, True)}

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    def __getitem__(self, idx: tuple[slice, slice]) -> np.ndarray:
        return self._tiles[idx[0].start, idx[1].start]

    def add(self, start: int, rows: Bool[np.ndarray, "queries s"]) -> None:
        """Takes a block of queries, from the position `start`, against all keys."""
        for column in range(0, rows.shape[1], self._sizes[1]):
            tile = rows[:, column : column + self._sizes[1]]
            some, whole = bool(tile.any()), bool(tile.all())
            self._tiles[start, column] = self._uniform[some] if some == whole else tile.copy()


def tile(request: Request, sizes: tuple[int, int]) -> tuple[Bool[np.ndarray, "#h t"], list[Tiles]]:
    """The queries that see a key, for each head or for all, and the blocks of each head.

    A row without a key has no softmax. So where a query sees nothing, Splash is told that it sees
    key 0, and `splash.run` overwrites the result; padding sees what the last
    query does.
    """
    (_, t, h, _), s = request.query.shape, request.shape.s
    traced = request.analysis.mask
    mask = masks.full if traced is None else traced.function
    starts = (0, 0) if traced is None else request.offsets
    heads = range(h if traced is not None and traced.used[1] else 1)
    rows, columns = (-(-n // size) * size for n, size in zip((t, s), sizes, strict=True))
    grid = jax.vmap(jax.vmap(mask, (None, None, None, 0)), (None, None, 0, None))

    @jax.jit
    def look(head: Array, start: Array) -> tuple[Array, Array]:
        i = jnp.minimum(start + jnp.arange(sizes[0], dtype=jnp.int32), t - 1)
        j = jnp.arange(columns, dtype=jnp.int32)
        seen = grid(jnp.int32(0), head, starts[0] + i, starts[1] + jnp.minimum(j, s - 1))
        seen = seen & (j < s)[None]
        some = seen.any(-1, keepdims=True)
        return jnp.where(some, seen, (j == 0)[None]), some[:, 0]

    seeing = np.ones((len(heads), rows), bool)
    tiles = [Tiles((rows, columns), sizes) for _ in heads]
    with jax.ensure_compile_time_eval(), jax.transfer_guard("allow"):
        for head in heads:
            for start in range(0, rows, sizes[0]):
                seen, some = look(np.int32(head), np.int32(start))
                tiles[head].add(start, np.asarray(seen))
                seeing[head, start : start + sizes[0]] = some
    return seeing[:, :t], tiles * (h // len(heads))


def kernel(tiles: list[Tiles], sizes: tuple[int, int], *, interpret: bool) -> Callable[..., Array]:
    """Splash attention of one sequence: [h t d], [g s d], [g s e] -> [h t e]."""
    of_queries = ("block_q", "block_q_dkv", "block_q_dq")
    of_keys = ("block_kv", "block_kv_compute", "block_kv_dkv", "block_kv_dkv_compute")
    named = dict.fromkeys(of_queries, sizes[0]) | dict.fromkeys((*of_keys, "block_kv_dq"), sizes[1])
    # Inside a trace too these are numbers, so that a later trace may use them.
    block_sizes: Any = kernels_of_jax.BlockSizes
    with jax.ensure_compile_time_eval():
        return kernels_of_jax.make_splash_mha_single_device(
            kernels_of_jax.MultiHeadMask(tiles),
            block_sizes=block_sizes(**named),
            residual_checkpoint_name=OUTPUT_NAME,
            interpret=interpret,
        )
