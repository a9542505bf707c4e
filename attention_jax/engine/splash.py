"""Attention on TPUs by the kernels of JAX's Splash attention, where they can honour a request."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu import splash_attention as kernels_of_jax
from jaxtyping import Array, Bool, Float

from attention_jax.core import masks
from attention_jax.core.jaxprs import depends_on
from attention_jax.core.numerics import Offset
from attention_jax.core.types import Like, MaskFunction, ScoreMod
from attention_jax.engine import block_map
from attention_jax.engine.external import extras_refusal

# The TPU computes 128 numbers side by side: lengths and widths are padded to its multiples.
LANES = 128
# Queries, and keys, in a block, at most. Blocks of wide vectors are half as long, to fit a core.
BLOCK, NARROW, WIDEST = 512, 256, 512


def splash_refusal(
    query: Like,
    key: Like,
    value: Like,
    *,
    score_mod: ScoreMod | None,
    mask: MaskFunction | None,
    normalizer_is_softmax: bool,
    dropout_rate: float,
    query_offset: Offset,
    key_offset: Offset,
    return_lse: bool,
    platform: str,
) -> str | None:
    """Why `splash` cannot honour a request; None where it can.

    Args:
      query, key, value: arrays, or their `jax.ShapeDtypeStruct`.
      platform: as `jax.default_backend()` names it; "interpret" for any.
    """
    dtypes = {str(x.dtype) for x in (query, key, value)}
    widest = max(key.shape[-1], value.shape[-1])
    if platform not in ("tpu", "interpret"):
        return f"Splash attention needs a TPU; this is a {platform}."
    if len(dtypes) > 1 or dtypes.isdisjoint(("float32", "bfloat16")):
        return (
            "`query`, `key` and `value` must be all float32 or bfloat16 for Splash attention; "
            f"got {', '.join(sorted(dtypes))}."
        )
    if widest > WIDEST:
        return f"Keys and values must be at most {WIDEST} wide, to fit a core; got {widest}."
    if not all((*query.shape, *value.shape)):
        return f"Splash attention takes no empty arrays; got {query.shape} and {value.shape}."
    refusal = extras_refusal(
        "Splash attention",
        score_mod=score_mod,
        normalizer_is_softmax=normalizer_is_softmax,
        dropout_rate=dropout_rate,
        return_lse=return_lse,
        sums="whose sums have no derivative",
    )
    return refusal or _mask_refusal(query, key, mask, (query_offset, key_offset))


def _mask_refusal(
    query: Like, key: Like, mask: MaskFunction | None, offsets: tuple[Offset, Offset]
) -> str | None:
    if mask is None:
        mask, offsets = masks.full, (0, 0)
    if not block_map.is_known(mask, offsets):
        return (
            "`mask` and the offsets must be known before the run for Splash attention; "
            "here they are traced."
        )
    by_b, by_h, _, _ = depends_on(mask)
    if by_b:
        return "`mask` must be the same for all sequences for Splash attention; it depends on b."
    pairs = (query.shape[2] if by_h else 1) * query.shape[1] * key.shape[1]
    if pairs > block_map.MOST_PAIRS:
        return (
            "Splash attention asks the mask for every pair before the run, which above "
            f"{block_map.MOST_PAIRS} pairs takes too long; got {pairs}."
        )
    return None


def splash(
    query: Float[Array, "b t h d"],
    key: Float[Array, "b s g d"],
    value: Float[Array, "b s g e"],
    *,
    scale: float,
    mask: MaskFunction | None,
    query_offset: Offset,
    key_offset: Offset,
    interpret: bool = False,
) -> Float[Array, "b t h e"]:
    """The softmax of `scale * q . k` by Splash attention, if `splash_refusal` is None.

    Equal to the definition for finite arrays. A number that is not finite may also reach queries
    that do not see it: within a block Splash multiplies what is hidden by 0, and 0 * NaN is NaN.
    The query takes the scale in its own dtype, before the products. These have the precision of
    `jax.default_matmul_precision`, which on a TPU is less than float32's unless one asks for it.
    First derivatives only, in reverse mode only.

    Args:
      interpret: runs the kernels without a TPU, slowly.

    Reference: the blocks that the mask empties are skipped as in Dao et al. 2022,
    arXiv:2205.14135, section 3.3.
    """
    (_, t, h, _), (_, s, _, e) = query.shape, value.shape
    sizes = block_sizes(t, s, max(key.shape[-1], e))
    seeing, tiles = _tiles(mask, (h, t, s), sizes, (query_offset, key_offset))
    q, k, v = (
        _heads_first(x, size)
        for x, size in zip((query * scale, key, value), (sizes[0], *sizes[1:] * 2), strict=True)
    )
    out = jax.vmap(_kernel(tiles, sizes, interpret))(q, k, v)
    out = out[:, :, :t, :e].transpose(0, 2, 1, 3)
    return out if seeing.all() else jnp.where(seeing.T[None, :, :, None], out, 0)


def block_sizes(t: int, s: int, width: int) -> tuple[int, int]:
    """Queries and keys in a block: the fewest blocks, and these as even as lanes allow."""
    most = BLOCK if width <= NARROW else BLOCK // 2
    even = (-(-n // -(-n // most)) for n in (t, s))
    queries, keys = (-(-n // LANES) * LANES for n in even)
    return queries, keys


def _heads_first(x: Float[Array, "b n h d"], size: int) -> Float[Array, "b h m c"]:
    """With zeros at the end, to whole blocks of `size` and whole lanes."""
    x = x.transpose(0, 2, 1, 3)
    lengths = zip(x.shape[2:], (size, LANES), strict=True)
    return jnp.pad(x, ((0, 0), (0, 0), *((0, -n % of) for n, of in lengths)))


class _Tiles(kernels_of_jax.Mask):
    """What one head sees, in blocks; Splash keeps one copy of those that are alike."""

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


def _tiles(
    mask: MaskFunction | None,
    shape: tuple[int, int, int],
    sizes: tuple[int, int],
    offsets: tuple[Offset, Offset],
) -> tuple[Bool[np.ndarray, "#h t"], list[_Tiles]]:
    """Which queries see a key, for each head or for all, and the blocks of each head.

    A row without a key has no softmax. So where a query sees nothing, Splash is told that it sees
    key 0, and `splash` overwrites the result; what pads the queries sees what the last one does.
    """
    h, t, s = shape
    if mask is None:
        mask, offsets = masks.full, (0, 0)
    heads = range(h if depends_on(mask)[1] else 1)
    rows, columns = (-(-n // size) * size for n, size in zip((t, s), sizes, strict=True))
    grid = jax.vmap(jax.vmap(mask, (None, None, None, 0)), (None, None, 0, None))

    @jax.jit
    def look(head: Array, start: Array) -> tuple[Array, Array]:
        i = jnp.minimum(start + jnp.arange(sizes[0], dtype=jnp.int32), t - 1)
        j = jnp.arange(columns, dtype=jnp.int32)
        seen = grid(jnp.int32(0), head, offsets[0] + i, offsets[1] + jnp.minimum(j, s - 1))
        seen = seen & (j < s)[None]
        some = seen.any(-1, keepdims=True)
        return jnp.where(some, seen, (j == 0)[None]), some[:, 0]

    seeing = np.ones((len(heads), rows), bool)
    tiles = [_Tiles((rows, columns), sizes) for _ in heads]
    with jax.ensure_compile_time_eval():
        for head in heads:
            for start in range(0, rows, sizes[0]):
                seen, some = look(np.int32(head), np.int32(start))
                tiles[head].add(start, np.asarray(seen))
                seeing[head, start : start + sizes[0]] = some
    return seeing[:, :t], tiles * (h // len(heads))


def _kernel(tiles: list[_Tiles], sizes: tuple[int, int], interpret: bool) -> Any:
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
            interpret=interpret,
        )
