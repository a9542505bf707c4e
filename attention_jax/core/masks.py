"""Attention masks: functions `(b, h, i, j) -> bool` of global positions, True where visible.

They combine with `&`, `|` and `~`, also with plain functions:

    masks.causal & masks.sliding_window(256)
    masks.causal & (lambda b, h, i, j: j != 0)

Masks made from arrays look positions up, so with `query_offset` and `key_offset` the arrays
still start at position 0, and may be longer than the queries or keys of a call. `attention` checks
their sizes: an axis of length 1 stands for all, any other must fit. Positions before 0 are hidden.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Never

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from attention_jax.core import captured_arrays, checks, mask_rules, values
from attention_jax.core.calls import clear_calls
from attention_jax.core.lookups import Lookup
from attention_jax.core.types import AnyArray, MaskFunction

Position = Array | int


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask function that combines with others.

    Masks are values: two that are made alike are equal, hash alike and pickle, with the arrays
    that they hold. A traced array equals only itself, and so does a function of your own.

    Attributes:
      function: of `(b, h, i, j)`.
      parts: the masks of which it is the conjunction, where it is one: each empties blocks of
        pairs by itself, whatever is known of the others.
      arrays: those that it looks up, so that their sizes can be checked.
    """

    function: MaskFunction
    parts: tuple[MaskFunction, ...] = ()
    arrays: tuple[Lookup, ...] = field(default=(), compare=False)

    # NumPy leaves `array & mask` to the mask, which says what is wrong with it.
    __array_ufunc__ = None

    def __call__(
        self,
        b: Position | None = None,
        h: Position | None = None,
        i: Position | None = None,
        j: Position | None = None,
    ) -> Array:
        given = b, h, i, j
        if any(position is None for position in given):
            raise TypeError(
                "A mask is called with its four positions (b, h, i, j), and `attention` does that; "
                f"got {sum(position is not None for position in given)} of them. Give the mask "
                "itself, without parentheses: `mask=masks.causal`."
            )
        return jnp.asarray(captured_arrays.call(self.function, *map(jnp.asarray, given)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and values.same(self.function, other.function)

    def __hash__(self) -> int:
        return values.hash_of(self.function)

    def __and__(self, other: MaskFunction) -> "Mask":
        own = _operand("&", other)
        parts = (*conjuncts(self), *conjuncts(own))
        return Mask(values.bind(mask_rules.every, *parts), parts, (*self.arrays, *own.arrays))

    def __or__(self, other: MaskFunction) -> "Mask":
        own = _operand("|", other)
        arrays = (*self.arrays, *own.arrays)
        return Mask(values.bind(mask_rules.either, self, own), arrays=arrays)

    def __invert__(self) -> "Mask":
        return Mask(values.bind(mask_rules.hidden, self), arrays=self.arrays)

    def __bool__(self) -> Never:
        raise TypeError(
            "A mask is neither True nor False as a whole. Combine masks by `&`, `|` and `~`, not "
            "by `and`, `or` and `not`; ask whether there is one by `mask is None`."
        )

    __rand__ = __and__
    __ror__ = __or__


def _operand(operator: str, other: MaskFunction) -> Mask:
    """The other side of `&` or `|` as a mask."""
    checks.called_with(
        f"mask {operator} other",
        other,
        "(b, h, i, j)",
        remedy="Wrap an array with `masks.from_array`.",
    )
    return other if isinstance(other, Mask) else Mask(other)


def _mask(rule: Callable[..., Array], *parameters: object, arrays: tuple[Lookup, ...] = ()) -> Mask:
    return Mask(values.bind(rule, *parameters) if parameters else rule, arrays=arrays)


@clear_calls
def conjuncts(mask: MaskFunction | None) -> tuple[MaskFunction, ...]:
    """The masks of which a pair needs all; none where `mask` is None."""
    if mask is None:
        return ()
    own = mask if isinstance(mask, Mask) else Mask(mask)
    return own.parts or (own,)


full = Mask(mask_rules.full)
"""Every query sees every key."""

causal = Mask(mask_rules.causal)
"""A query sees itself and the keys before it: j <= i."""


@clear_calls
def both(first: MaskFunction | None, second: MaskFunction | None) -> MaskFunction | None:
    """The conjunction of two masks, either of which may be None, for no mask."""
    if first is None or second is None:
        return second if first is None else first
    return (first if isinstance(first, Mask) else Mask(first)) & second


@clear_calls
def sliding_window(size: int, *, dilation: int = 1) -> Mask:
    """Sliding window: a query sees the keys nearer than `size` steps, on both sides.

        visible = |i - j| < size dilation and (i - j) mod dilation = 0

    Args:
      size: at least 1 position, which is the query's own.
      dilation: positions in a step; above 1 the keys between two steps are hidden.

    Raises:
      ValueError: `size` holds no position, or `dilation` is no step.

    Reference: Beltagy et al. 2020, arXiv:2004.05150, section 3.1.

    >>> bool(sliding_window(2)(0, 0, 5, 4)), bool(sliding_window(2)(0, 0, 5, 3))
    (True, False)
    >>> [j for j in range(10) if sliding_window(2, dilation=3)(0, 0, 5, j)]
    [2, 5, 8]
    """
    if isinstance(size, int) and size < 1:
        raise ValueError(f"`size` must hold at least 1 position; got {size}.")
    checks.positive("size", size)
    checks.positive("dilation", dilation)
    checks.positive("size * dilation", size * dilation)
    if dilation == 1:
        return _mask(mask_rules.window, size)
    return _mask(mask_rules.dilated, size, dilation)


@clear_calls
def strided(stride: int) -> Mask:
    """Strided pattern: a query sees the keys nearer than `stride`, and every `stride`-th beyond.

        visible = |i - j| < stride or (i - j) mod stride = 0

    Reference: Child et al. 2019, arXiv:1904.10509, section 4.3.

    >>> [j for j in range(8) if strided(2)(0, 0, 5, j)]
    [1, 3, 4, 5, 6, 7]
    """
    checks.positive("stride", stride)
    return _mask(mask_rules.strided, stride)


@clear_calls
def chunks(size: int) -> Mask:
    """Chunks of `size` positions, which see only themselves.

        visible = floor(i / size) = floor(j / size)

    >>> [j for j in range(8) if chunks(3)(0, 0, 5, j)]
    [3, 4, 5]
    """
    checks.positive("size", size)
    return _mask(mask_rules.chunks, size)


@clear_calls
def summaries(stride: int, count: int) -> Mask:
    """Summary positions: the last `count` of each `stride` keys; combine as `chunks | summaries`.

        visible = j mod stride >= stride - count

    Args:
      count: from 1 to `stride`.

    Reference: Child et al. 2019, arXiv:1904.10509, section 4.3.

    >>> [j for j in range(8) if summaries(3, 1)(0, 0, 0, j)]
    [2, 5]
    """
    checks.positive("stride", stride)
    checks.positive("count", count)
    checks.at_most("count", count, "stride", stride)
    return _mask(mask_rules.summaries, stride, count)


@clear_calls
def global_tokens(count: int) -> Mask:
    """Global tokens: the first `count` positions see all, and all see them; combine by `|`.

        visible = i < count or j < count

    Reference: Beltagy et al. 2020, arXiv:2004.05150, section 3.1.

    >>> bool(global_tokens(1)(0, 0, 0, 9)), bool(global_tokens(1)(0, 0, 9, 8))
    (True, False)
    """
    checks.positive("count", count)
    return _mask(mask_rules.global_tokens, count)


@clear_calls
def neighborhood(size: int, *, height: int, width: int) -> Mask:
    """Neighborhood on a grid: a query sees the `size` x `size` keys nearest to it, row-major.

        start(n, length) = min(max(n - floor(size / 2), 0), length - size)
        visible = 0 <= row(j) - start(row(i), height) < size and the same for the columns

    At a border the window is moved inward, so that every query sees as many keys. Positions
    beyond the grid are hidden.

    Args:
      size: of the window, odd; where the grid is smaller, all of it is seen.
      height, width: numbers of rows and of columns.

    Raises:
      ValueError: `size` is even, so that no key is in the middle.

    Reference: Hassani et al. 2023, arXiv:2204.07143, section 3.1.

    >>> [j for j in range(5) if neighborhood(3, height=1, width=5)(0, 0, 0, j)]
    [0, 1, 2]
    """
    for name, value in (("size", size), ("height", height), ("width", width)):
        checks.positive(name, value)
    if size % 2 == 0:
        raise ValueError(
            f"`size` must be odd, so that the query is in the middle; got {size}. "
            f"The nearest below is {size - 1}."
        )
    return _mask(mask_rules.neighborhood, size, height, width)


@clear_calls
def axial(width: int, *, along: str = "both") -> Mask:
    """Axial pattern on a grid, row-major: a query sees the keys of its row, its column, or both.

        visible = floor(i / width) = floor(j / width) or i mod width = j mod width

    Args:
      width: number of columns.
      along: "row", "column" or "both".

    Reference: Ho et al. 2019, arXiv:1912.12180, section 3.

    >>> [j for j in range(9) if axial(3)(0, 0, 4, j)]
    [1, 3, 4, 5, 7]
    """
    checks.positive("width", width)
    checks.one_of("along", along, ("row", "column", "both"))
    row = _mask(mask_rules.chunks, width)
    column = _mask(mask_rules.column, width)
    return {"row": row, "column": column, "both": row | column}[along]


@clear_calls
def prefix(length: int | Int[AnyArray, ""]) -> Mask:
    """Prefix: every query sees the first `length` keys; combine as `causal | prefix(length)`.

    Raises:
      ValueError: `length` is not one whole number, fixed or traced.

    Reference: Raffel et al. 2020, arXiv:1910.10683, figure 4.
    """
    checks.position("length", length, remedy="With one length a sequence, use `masks.lengths`.")
    return _mask(mask_rules.prefix, length)


@clear_calls
def lengths(key_lengths: Int[AnyArray, "#b"]) -> Mask:
    """Padding mask from lengths: sequence b has `key_lengths[b]` keys."""
    looked = Lookup.of("key_lengths", key_lengths, "b", integers=True)
    return _mask(mask_rules.lengths, key_lengths, arrays=(looked,))


@clear_calls
def keys(visible: Bool[AnyArray, "#b #s"]) -> Mask:
    """Padding mask from an array: key j of sequence b is seen where `visible[b, j]`."""
    looked = Lookup.of("visible", visible, "b s")
    _boolean("visible", visible)
    return _mask(mask_rules.keys, visible, arrays=(looked,))


@clear_calls
def documents(query_ids: Int[AnyArray, "#b #t"], key_ids: Int[AnyArray, "#b #s"]) -> Mask:
    """Document mask of packed sequences: `query_ids[b, i] == key_ids[b, j]`.

    Variants with a state of their own take it beside `causal`, of one array for both, where each
    document is a run of positions: their state begins anew with it.
    """
    of_queries = Lookup.of("query_ids", query_ids, "b t", integers=True)
    of_keys = Lookup.of("key_ids", key_ids, "b s", integers=True)
    # One value for both shows that they are the same, also where they are traced.
    own = values.held(query_ids)
    other = own if key_ids is query_ids else key_ids
    return _mask(mask_rules.documents, own, other, arrays=(of_queries, of_keys))


@clear_calls
def is_documents(mask: MaskFunction) -> bool:
    """Tells whether a mask is that of `documents`."""
    rule = getattr(mask, "function", None)
    return isinstance(rule, values.Bound) and rule.function is mask_rules.documents


@clear_calls
def common_ids(mask: MaskFunction) -> AnyArray | None:
    """The ids [#b #t] of `documents` that are known to be those of queries and keys alike."""
    rule: Any = getattr(mask, "function", None)
    if not (is_documents(mask) and values.same(*rule.arguments)):
        return None
    ids: Any = values.unheld(rule.arguments[0])
    return ids


@clear_calls
def from_array(visible: Bool[AnyArray, "#b #h #t #s"]) -> Mask:
    """Mask from an array, True where visible; axes of length 1 broadcast.

    Where the array shows a pattern (a window, padding), the function for it is faster.
    """
    looked = Lookup.of("visible", visible, "b h t s", remedy="Give missing axes length 1.")
    _boolean("visible", visible)
    return _mask(mask_rules.from_array, visible, arrays=(looked,))


def _boolean(name: str, array: AnyArray) -> None:
    if array.dtype != jnp.bool_:
        raise ValueError(
            f"`{name}` must be boolean, True where visible; got {array.dtype}. "
            f"Convert it with `{name} != 0`."
        )
