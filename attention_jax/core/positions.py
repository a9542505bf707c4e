"""Position encodings: added to embeddings, rotated into them, or added to scores."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from attention_jax.core import checks, rotary, values
from attention_jax.core.calls import clear_calls
from attention_jax.core.lookups import Lookup
from attention_jax.core.types import ScoreMod

Position = Array | int


@clear_calls
def sinusoidal(
    positions: int | Num[Array, " t"], width: int, *, base: float = 10_000.0
) -> Float[Array, "t m"]:
    """A table of sines and cosines to add to the embeddings.

        table[p, 2c] = sin(p / base^(2c / width));  table[p, 2c + 1] = cos(the same)

    Args:
      positions: a length, for the positions from 0; or the positions themselves.
      width: even.

    Reference: Vaswani et al. 2017, arXiv:1706.03762, section 3.5.
    """
    if isinstance(positions, int):
        positions = jnp.arange(positions)
    angles = _angles(positions, width, base)
    pairs = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return pairs.reshape(*angles.shape[:-1], width)


@clear_calls
def learned(
    table: Float[Array, " n *rest"], length: int, *, offset: int | Int[Array, ""] = 0
) -> Float[Array, " t *rest"]:
    """Rows of a learned table, one a position.

        rows[p] = table[offset + p]

    Args:
      length: number of positions.
      offset: the first of them. Where it is traced only a run can tell that the table ends
        before: the rows beyond are NaN.

    Raises:
      ValueError: the table has no such row.

    Reference: Gehring et al. 2017, arXiv:1705.03122, section 3.1.
    """
    checks.position("offset", offset)
    first = offset if isinstance(offset, int) else 0
    if first < 0 or first + length > len(table):
        raise ValueError(
            f"Learned positions go from 0 to {len(table) - 1}; got {length} from {first}. "
            "Raise `max_length`, the length of their table."
        )
    rows = jnp.asarray(offset) + jnp.arange(length)
    return table.at[rows].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)


@clear_calls
def rope(
    x: Float[Array, "b t h d"], positions: Num[Array, "*b t"], *, base: float = 10_000.0
) -> Float[Array, "b t h d"]:
    """Rotary encoding: each pair of channels is rotated in proportion to the position.

        (x[2c], x[2c + 1]) rotated by p / base^(2c / d)

    Applied to queries and keys, their dot product depends on distances only. `rotary.turned` has
    other layouts, rates and axes.

    Args:
      positions: `[t]` for all sequences, or `[b t]`.

    Reference: Su et al. 2021, arXiv:2104.09864, equation 34.
    """
    return rotary.turned(x, positions, rotary.Rotary(base))


@clear_calls
def alibi(*, heads: int) -> ScoreMod:
    """Linear bias: a score falls in proportion to the distance between query and key.

        score'[h, i, j] = score[h, i, j] - 2^(-8 (h + 1) / heads) |i - j|

    Args:
      heads: number of query heads; other than a power of two, the slopes of the next smaller
        power are completed by every other slope of the next larger, as in the authors' code.

    Reference: Press et al. 2022, arXiv:2108.12409, section 3.

    >>> lower = alibi(heads=8)
    >>> float(lower(0.0, b=0, h=0, i=0, j=1))
    -0.5
    """
    checks.positive("heads", heads)
    return _Alibi(heads)


@dataclass(frozen=True)
class _Alibi:
    heads: int

    @property
    def arrays(self) -> tuple[Lookup, ...]:
        """The slopes, so that a call with another number of heads is refused."""
        return (Lookup("heads", "h", (self.heads,)),)

    def __call__(
        self, score: Array | float, b: Position, h: Position, i: Position, j: Position
    ) -> Array:
        slopes = jnp.asarray(np.asarray(alibi_slopes(self.heads), np.float32))
        slope, distance = slopes[h], jnp.abs(jnp.asarray(i - j)).astype(slopes.dtype)
        lowered = jnp.asarray(score)
        return lowered - (slope * distance).astype(lowered.dtype)


@clear_calls
def alibi_slopes(heads: int) -> list[float]:
    """Slopes of `alibi`, one a head."""
    power = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    between = [2 ** (-4 * (h + 1) / power) for h in range(0, 2 * power, 2)]
    return slopes + between[: heads - power]


@clear_calls
def t5_bucket(
    distance: Int[Array, "..."],
    *,
    buckets: int = 32,
    max_distance: int = 128,
    bidirectional: bool = True,
) -> Int[Array, "..."]:
    """The bucket of a distance `j - i`: one each for near keys, logarithmic for far ones.

    Args:
      buckets: how many; with `bidirectional` half of them for keys that come after.
      max_distance: from here on all distances share the last bucket.
      bidirectional: whether keys that come after count; else they share bucket 0.

    Reference: Raffel et al. 2020, arXiv:1910.10683, section 2.1, and the authors' code.
    """
    checks.positive("buckets", buckets)
    checks.positive("max_distance", max_distance)
    checks.one_of("bidirectional", bidirectional, (True, False))
    near = buckets // (4 if bidirectional else 2)
    if near < 1 or max_distance <= near:
        raise ValueError(
            f"`buckets` must be at least {4 if bidirectional else 2} and `max_distance` above "
            f"{near}; got {buckets} and {max_distance}."
        )
    after = 0
    if bidirectional:
        buckets //= 2
        after = jnp.where(distance > 0, buckets, 0)
        distance = jnp.abs(distance)
    else:
        distance = jnp.maximum(-distance, 0)
    # Compared below with whole bounds: logarithms in float32 put some distances one too low.
    bounds = [near]
    ratio = max_distance / near
    for step in range(1, buckets - near):
        bounds.append(math.ceil(near * ratio ** (step / (buckets - near)) - 1e-9))
    far = near - 1 + sum((distance >= bound).astype(jnp.int32) for bound in bounds)
    return after + jnp.where(distance < near, distance, far)


@clear_calls
def t5_bias(
    table: Float[Array, "buckets h"], *, max_distance: int = 128, bidirectional: bool = True
) -> ScoreMod:
    """Relative bias: a learned number per head and bucket of distances.

        score'[h, i, j] = score[h, i, j] + table[bucket(j - i), h]

    Args:
      table: learned; its first axis is the number of buckets.
      max_distance, bidirectional: see `t5_bucket`.

    Reference: Raffel et al. 2020, arXiv:1910.10683, section 2.1.
    """
    checks.shape("table", table, "buckets h")
    checks.positive("max_distance", max_distance)
    checks.one_of("bidirectional", bidirectional, (True, False))
    return _T5Bias(values.Held(table), max_distance, bidirectional)


@dataclass(frozen=True)
class _T5Bias:
    table: values.Held
    max_distance: int
    bidirectional: bool

    @property
    def arrays(self) -> tuple[Lookup, ...]:
        """The table, which has a column for each head."""
        return (Lookup("table", "buckets h", tuple(self.table.array.shape)),)

    def __call__(
        self, score: Array | float, b: Position, h: Position, i: Position, j: Position
    ) -> Array:
        table = jnp.asarray(self.table.array)
        bucket = t5_bucket(
            jnp.asarray(j - i),
            buckets=table.shape[0],
            max_distance=self.max_distance,
            bidirectional=self.bidirectional,
        )
        raised = jnp.asarray(score)
        return raised + table[bucket, h].astype(raised.dtype)


@clear_calls
def by_distance(
    table: Float[Array, "b n h r"], *, rows: str, offset: int | Int[Array, ""] = 0
) -> ScoreMod:
    """Relative bias from a table of scores of each query, or each key, with each distance.

        score'[b, h, i, j] = score[b, h, i, j] + table[b, i - offset, h, column(i - j)]   or
                             score[b, h, i, j] + table[b, j - offset, h, column(j - i)]
        column(distance) = min(max(distance + floor(r / 2), 0), r - 1)

    So the products of vectors with one learned vector a distance take n r numbers, not t s.

    Args:
      table: a row for each query or key, a column for each distance.
      rows: "queries" or "keys".
      offset: global position of the first row.

    Reference: Shaw et al. 2018, arXiv:1803.02155, section 3.2, and equation 5.

    >>> table = jnp.arange(5.0).reshape(1, 1, 1, 5)
    >>> float(by_distance(table, rows="queries", offset=7)(0.0, b=0, h=0, i=7, j=6))
    3.0
    """
    checks.shape("table", table, "b n h r")
    checks.one_of("rows", rows, ("queries", "keys"))
    return _ByDistance(
        values.Held(table), rows, offset if isinstance(offset, int) else values.Held(offset)
    )


@dataclass(frozen=True)
class _ByDistance:
    table: values.Held
    rows: str
    offset: int | values.Held

    @property
    def arrays(self) -> tuple[Lookup, ...]:
        """The table, which has rows of each sequence and head."""
        return (Lookup("table", "b n h r", tuple(self.table.array.shape)),)

    def __call__(
        self, score: Array | float, b: Position, h: Position, i: Position, j: Position
    ) -> Array:
        table, first = jnp.asarray(self.table.array), self.offset
        offset = first.array if isinstance(first, values.Held) else first
        columns = table.shape[-1]
        own, other = (i, j) if self.rows == "queries" else (j, i)
        column = jnp.clip(jnp.asarray(own - other) + columns // 2, 0, columns - 1)
        raised = jnp.asarray(score)
        return raised + table[b, own - offset, h, column].astype(raised.dtype)


def _angles(positions: Num[Array, "*b t"], width: int, base: float) -> Float[Array, "*b t c"]:
    return rotary.angles_of(positions, rotary.pair_rates(width, base))
